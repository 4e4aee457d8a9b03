export type LeadPayload = Record<string, unknown>;

export interface IngestResult {
  leadId: string;
  deduplicated: boolean;
}
