// node-postgres reads: simple queries, parameters, named statements.
import pg from 'pg'

const client = new pg.Client()
await client.connect()
await client.query('SELECT id, name FROM patients ORDER BY id')
await client.query('SELECT name FROM wards WHERE id = $1', [2])
for (const n of [1, 2, 3]) await client.query({ name: 'one', text: 'SELECT * FROM shop.orders WHERE id = $1', values: [n] })
await client.query({ text: 'SELECT status, count(*) FROM patients GROUP BY status ORDER BY 1', rowMode: 'array' })
await client.query('BEGIN')
await client.query('SELECT sum(total) FROM shop.products')
await client.query('ROLLBACK')
await client.query("SELECT typname, oid FROM pg_type WHERE typname IN ('state', 'percent') ORDER BY 1")
await client.query('SELECT attributes, tags FROM shop.products WHERE id = ANY ($1) ORDER BY id', [[1, 2]])
await client.end()
