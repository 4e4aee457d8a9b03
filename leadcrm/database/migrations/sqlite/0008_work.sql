-- What working on leads needs: the time of the next call, the oldest lead that nobody has, and phones by their last seven
-- digits, which find a number with and without its country however it is written. The index by call has no entry for a
-- new lead; the one of leads that nobody has grows at its end.
-- SQLite knows no pattern, so what people write between digits is taken out piece by piece, where there is any.
ALTER TABLE leads ADD COLUMN call_at TEXT;

CREATE INDEX leads_call_at ON leads (call_at, id) WHERE call_at IS NOT NULL;

CREATE INDEX leads_unassigned ON leads (created_at, id, status, is_test) WHERE assigned_to IS NULL;

CREATE INDEX leads_phone_end ON leads (
    substr(CASE WHEN phone GLOB '*[^+0-9]*' THEN replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(substr(phone, 1, 64), ' ', ''), '-', ''), '(', ''), ')', ''), '.', ''), '/', ''), char(9), ''), char(160), ''), char(8239), ''), char(8209), ''), char(8208), ''), char(8211), '') ELSE substr(phone, 1, 64) END, -7)
) WHERE phone IS NOT NULL;

-- A note is an event of its own kind.
DROP TRIGGER leads_feed_changed;

CREATE TRIGGER leads_feed_changed AFTER INSERT ON lead_events BEGIN
    INSERT INTO leads_feed (type, lead_id, change_id)
        VALUES (CASE NEW.field WHEN 'note' THEN 'noted' ELSE 'changed' END, NEW.lead_id, NEW.id);
END;
