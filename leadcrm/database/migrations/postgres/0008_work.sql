-- What working on leads needs: the time of the next call, the oldest lead that nobody has, and phones by their last seven
-- digits, which find a number with and without its country however it is written. The index by call has no entry for a
-- new lead; the one of leads that nobody has grows at its end.
ALTER TABLE {schema}leads ADD COLUMN call_at timestamp;

CREATE INDEX leads_call_at ON {schema}leads (call_at, id) WHERE call_at IS NOT NULL;

CREATE INDEX leads_unassigned ON {schema}leads (created_at, id, status, is_test) WHERE assigned_to IS NULL;

CREATE INDEX leads_phone_end ON {schema}leads (
    right(regexp_replace(substr(phone, 1, 64), '[^0-9]', '', 'g'), 7) COLLATE "C"
) WHERE phone IS NOT NULL;

-- A note is an event of its own kind.
CREATE OR REPLACE FUNCTION {schema}leads_feed_changed() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO {schema}leads_feed (type, lead_id, change_id)
        VALUES (CASE NEW.field WHEN 'note' THEN 'noted' ELSE 'changed' END, NEW.lead_id, NEW.id);
    RETURN NULL;
END
$$;
