import type { FastifyBaseLogger } from 'fastify';
import { prisma } from '../db/prisma.js';
import { Prisma } from '../generated/client.js';
import type { IngestResult, LeadPayload } from '../types/lead.js';

const text = (value: unknown): string | null =>
  value === undefined || value === null ? null : typeof value === 'string' ? value : JSON.stringify(value);

/** Stores the raw request, then the normalized lead. If that fails, the raw row remains for manual recovery. */
export async function ingestLead(
  payload: LeadPayload,
  headers: Record<string, unknown>,
  idempotencyKey: string | undefined,
  requestId: string | undefined,
  log: FastifyBaseLogger,
): Promise<IngestResult> {
  let rawId: string;
  try {
    const raw = await prisma.leadRaw.create({
      data: {
        idempotencyKey,
        requestId,
        payload: payload as Prisma.InputJsonObject,
        headers: headers as Prisma.InputJsonObject,
      },
      select: { id: true },
    });
    rawId = raw.id;
  } catch (error) {
    if (error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002') {
      const first = await prisma.leadRaw.findUniqueOrThrow({
        where: { idempotencyKey },
        select: { id: true, lead: { select: { id: true } } },
      });
      return { leadId: first.lead?.id ?? first.id, deduplicated: true };
    }
    throw error;
  }
  try {
    const lead = await prisma.lead.create({
      data: {
        rawId,
        clickId: text(payload.click_id),
        country: text(payload.country),
        creo: text(payload.creo),
        description: text(payload.description),
        domain: text(payload.domain),
        email: text(payload.email),
        firstName: text(payload.firstName),
        ip: text(payload.ip),
        lang: text(payload.lang),
        lastName: text(payload.lastName),
        marker: text(payload.marker),
        offer: text(payload.offer),
        phone: text(payload.phone),
        sourcetype: text(payload.sourcetype),
      },
      select: { id: true },
    });
    return { leadId: lead.id, deduplicated: false };
  } catch (error) {
    log.error({ err: error, rawId }, 'the normalized lead could not be stored');
    return { leadId: rawId, deduplicated: false };
  }
}
