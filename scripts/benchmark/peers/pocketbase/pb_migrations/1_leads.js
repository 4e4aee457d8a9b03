/// The collection of leads: 14 fields and a unique key; anyone may create records.
migrate((app) => {
  const fields = [
    'click_id', 'country', 'creo', 'description', 'domain', 'email', 'firstName',
    'ip', 'lang', 'lastName', 'marker', 'offer', 'phone', 'sourcetype', 'idempotency_key',
  ];
  app.save(new Collection({
    type: 'base',
    name: 'leads',
    createRule: '',
    fields: fields.map((name) => ({ name, type: 'text' })),
    indexes: ["CREATE UNIQUE INDEX leads_key ON leads (idempotency_key) WHERE idempotency_key != ''"],
  }));
});
