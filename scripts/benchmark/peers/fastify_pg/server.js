// Fastify with pg and no ORM: prepared statements, both inserts in one transaction.
import { randomUUID } from 'node:crypto';
import Fastify from 'fastify';
import pg from 'pg';

const FIELDS = [
  'click_id', 'country', 'creo', 'description', 'domain', 'email', 'firstName',
  'ip', 'lang', 'lastName', 'marker', 'offer', 'phone', 'sourcetype',
];

const INSERT_RAW = {
  name: 'insert_raw',
  text: `INSERT INTO leads_raw (id, idempotency_key, request_id, payload, headers) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (idempotency_key) DO NOTHING RETURNING id`,
};
const INSERT_LEAD = {
  name: 'insert_lead',
  text: `INSERT INTO leads (id, raw_id, click_id, country, creo, description, domain, email, first_name,
         ip, lang, last_name, marker, offer, phone, sourcetype, updated_at)
         VALUES ($1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, now())`,
};
const FIND = { name: 'find', text: 'SELECT id FROM leads_raw WHERE idempotency_key = $1' };

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
const app = Fastify({ logger: process.env.REQUEST_LOG !== 'off' });

const text = (value) =>
  value === undefined || value === null ? null : typeof value === 'string' ? value : JSON.stringify(value);

async function store(payload, headers) {
  const id = randomUUID();
  const key = headers['idempotency-key'];
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const values = [id, key, headers['x-request-id'], JSON.stringify(payload), JSON.stringify(headers)];
    const { rowCount } = await client.query({ ...INSERT_RAW, values });
    if (rowCount === 1) {
      await client.query({ ...INSERT_LEAD, values: [id, ...FIELDS.map((field) => text(payload[field]))] });
    }
    await client.query('COMMIT');
    if (rowCount === 1) return { id, deduplicated: false };
    const { rows } = await client.query({ ...FIND, values: [key] });
    return { id: rows[0].id, deduplicated: true };
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    client.release();
  }
}

app.get('/health', async () => ({ ok: true }));

app.post('/api/lead', async (request, reply) => {
  const { id, deduplicated } = await store(request.body, request.headers);
  return reply.code(deduplicated ? 409 : 201).send({ ok: true, lead_id: id, deduplicated });
});

await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) });
