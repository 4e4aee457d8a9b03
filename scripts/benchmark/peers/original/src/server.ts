import Fastify from 'fastify';
import { config } from './config.js';
import { logger } from './logger.js';
import { leadRoutes } from './routes/lead.js';

const app = Fastify({ loggerInstance: logger });

app.setErrorHandler((error: { statusCode?: number }, request, reply) => {
  request.log.error({ err: error }, 'request failed');
  const invalid = error.statusCode !== undefined && error.statusCode < 500;
  return reply
    .code(invalid ? 400 : 500)
    .send({ ok: false, error: invalid ? 'invalid_payload' : 'internal_error' });
});

app.get('/health', async () => ({ ok: true, timestamp: new Date().toISOString() }));
await app.register(leadRoutes);
await app.listen({ host: '127.0.0.1', port: config.port });
