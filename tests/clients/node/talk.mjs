// node-postgres: simple and extended protocol, named statements, cursors, COPY streams, pool, notifications.
import { readFileSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { Readable, Writable } from 'node:stream'
import pg from 'pg'
import Cursor from 'pg-cursor'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'

const show = (what, value) => console.log(`${what}: ${JSON.stringify(value)}`)

async function attempt (client, query, values) {
  const name = typeof query === 'string' ? query : (query.name ?? query.text)
  try {
    const result = await client.query(query, values)
    const all = Array.isArray(result) ? result : [result]
    show(name.slice(0, 60), all.map(each => [each.command, each.rowCount, each.rows]))
  } catch (error) {
    show(name.slice(0, 60), { ...error, message: error.message })
  }
}

async function statements (client) {
  await attempt(client, 'SELECT * FROM everything ORDER BY id')
  await attempt(client, { text: 'SELECT * FROM everything ORDER BY id', rowMode: 'array' })
  await attempt(client, 'SELECT $1::int, $2::bigint, $3::numeric, $4::float8, $5::text, $6::bytea, $7::timestamptz, $8::jsonb, $9::int[], $10::bool, $11::text',
    [1, '1099511627776', '1.50', 2.5, 'wörds', Buffer.from([0, 255]), '2024-02-29T12:00:00Z', { a: 1 }, [1, null], true, null])
  await attempt(client, { text: 'SELECT $1::int AS a, $2::float8 AS b', values: [1, 2.5], binary: true })
  for (const id of [1, 2, 3]) await attempt(client, { name: 'by-id', text: 'SELECT name FROM parent WHERE id = $1', values: [id] })
  for (const sql of ['SELEC', 'SELECT 1/0', "SELECT 'x'::int", 'SELECT * FROM nowhere', "SELECT loud('hey')", "SELECT loud('error')",
    "INSERT INTO parent VALUES (1, 'x')", 'INSERT INTO child (parent_id) VALUES (77)', '', ';', 'SELECT 1; SELECT 2', 'SELECT 1; SELECT 1/0; SELECT 3']) {
    await attempt(client, sql)
    await attempt(client, { text: sql, values: [], queryMode: 'extended' })
  }
  await attempt(client, 'SELECT $1::int', ['not a number'])
  await attempt(client, { name: 'broken', text: 'SELECT * FROM nowhere WHERE a = $1', values: [1] })
  await attempt(client, { name: 'broken', text: 'SELECT * FROM parent WHERE id = $1', values: [1] })
  await attempt(client, 'ALTER TABLE parent ADD COLUMN added int')
  await attempt(client, { name: 'by-id', text: 'SELECT name FROM parent WHERE id = $1', values: [1] })
  await attempt(client, 'ALTER TABLE parent DROP COLUMN added')
  await Promise.all([1, 2, 3].map(n => attempt(client, 'SELECT $1::int', [n])))
}

async function transactions (client) {
  for (const sql of ['BEGIN', "INSERT INTO parent VALUES (70, 'x')", 'SAVEPOINT a', 'SELECT 1/0', 'SELECT 1', 'SELEC', 'ROLLBACK TO a', 'RELEASE a',
    'SELECT id FROM parent ORDER BY id', 'ROLLBACK', 'BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY', 'DELETE FROM parent', 'COMMIT']) {
    await attempt(client, sql)
  }
  await attempt(client, 'BEGIN')
  await attempt(client, 'SELECT $1/0', [1])
  await attempt(client, 'SELECT name FROM parent WHERE id = $1', [1])
  await attempt(client, { name: 'by-id', text: 'SELECT name FROM parent WHERE id = $1', values: [1] })
  await attempt(client, 'COMMIT')
}

async function cursors (client) {
  const cursor = client.query(new Cursor('SELECT id, name FROM parent WHERE id > $1 ORDER BY id', [0]))
  show('cursor', await cursor.read(2))
  show('cursor', await cursor.read(2))
  await cursor.close()
  const failing = client.query(new Cursor('SELECT 1/(3 - n) FROM generate_series(1, 5) n'))
  try {
    show('cursor', await failing.read(2))
    show('cursor', await failing.read(2))
  } catch (error) { show('cursor', { ...error, message: error.message }) }
  await attempt(client, 'SELECT 1')
}

async function copies (client) {
  await pipeline(Readable.from(['90\tninety\n', '91\tninety-one\n']), client.query(copyFrom('COPY parent (id, name) FROM STDIN')))
  const chunks = []
  await pipeline(client.query(copyTo('COPY (SELECT id, name FROM parent ORDER BY id) TO STDOUT CSV HEADER')), new Writable({
    write (chunk, _encoding, done) { chunks.push(chunk); done() }
  }))
  show('copy', Buffer.concat(chunks).toString())
  for (const text of ['90\tagain\n', 'x\ty\n']) {
    try {
      await pipeline(Readable.from([text]), client.query(copyFrom('COPY parent (id, name) FROM STDIN')))
    } catch (error) { show('copy', { ...error, message: error.message }) }
  }
}

async function others (client) {
  const heard = new Promise(resolve => client.on('notification', message => resolve([message.channel, message.payload])))
  await attempt(client, 'LISTEN news')
  const pool = new pg.Pool({ max: 2 })
  await pool.query("NOTIFY news, 'hello'")
  show('heard', await heard)
  show('pool', (await pool.query('SELECT $1::text AS x', ['pooled'])).rows)
  await pool.end()
  await attempt(client, 'SET statement_timeout = 50')
  await attempt(client, 'SELECT pg_sleep(10)')
  await attempt(client, 'SELECT pg_sleep($1)', [10])
  await attempt(client, 'RESET statement_timeout')
  const sleeping = new pg.Query('SELECT pg_sleep(10)')
  const ended = new Promise(resolve => {
    sleeping.on('error', error => resolve({ ...error, message: error.message }))
    sleeping.on('end', () => resolve('slept'))
  })
  client.query(sleeping)
  await new Promise(resolve => setTimeout(resolve, 400))
  new pg.Client().cancel(client, sleeping)
  show('cancelled', await ended)
}

const client = new pg.Client({ application_name: 'talk', statement_timeout: 60000 })
client.on('notice', notice => show('notice', { ...notice, message: notice.message }))
await client.connect()
await attempt(client, readFileSync(process.env.TALK_SCHEMA, 'utf8'))
await attempt(client, 'SET search_path = talk, public')
for (const part of [statements, transactions, cursors, copies, others]) {
  show('part', part.name)
  await part(client)
}
await attempt(client, 'DROP SCHEMA talk CASCADE')
await client.end()
