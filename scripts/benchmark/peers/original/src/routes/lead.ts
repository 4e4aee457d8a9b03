import type { FastifyInstance } from 'fastify';
import { ingestLead } from '../services/leadService.js';
import type { LeadPayload } from '../types/lead.js';

const header = (value: string | string[] | undefined): string | undefined => (Array.isArray(value) ? value[0] : value);

export async function leadRoutes(app: FastifyInstance): Promise<void> {
  app.post('/api/lead', async (request, reply) => {
    const payload = request.body;
    if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) {
      return reply.code(400).send({ ok: false, error: 'invalid_payload' });
    }
    const idempotencyKey = header(request.headers['idempotency-key']);
    const requestId = header(request.headers['x-request-id']);
    const { leadId, deduplicated } = await ingestLead(
      payload as LeadPayload,
      request.headers,
      idempotencyKey,
      requestId,
      request.log,
    );
    request.log.info(
      { method: request.method, url: request.url, requestId, idempotencyKey, leadId, outcome: deduplicated ? 'duplicate' : 'created' },
      'lead ingested',
    );
    return reply.code(deduplicated ? 409 : 201).send({ ok: true, lead_id: leadId, deduplicated });
  });
}
