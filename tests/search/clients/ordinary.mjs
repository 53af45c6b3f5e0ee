// An app's ordinary calls through the official JavaScript client; prints what came back, as JSON.
// Arguments: address of the server, prefix of the indices. Run in a folder with the client in it.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
const require = createRequire(process.cwd() + '/')
const { Client } = require('@elastic/elasticsearch')
const [url, prefix] = process.argv.slice(2)
const volatile = new Set(['took', '_seq_no', '_primary_term', '_scroll_id', 'pit_id', 'id', 'uuid', 'timestamp'])
const results = {}
const actions = []

function steady (value) {
  if (Array.isArray(value)) return value.map(steady)
  if (value && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).filter(([k]) => !volatile.has(k)).map(([k, v]) => [steady(k), steady(v)]))
  }
  return typeof value === 'string' ? value.replaceAll(prefix, 'PREFIX') : value
}

async function call (name, run) {
  try {
    const found = await run()
    results[name] = steady(found)
    return found
  } catch (error) {
    if (!error.meta) throw error
    results[name] = ['error', error.meta.statusCode, steady(error.meta.body)]
  }
}

for (const compression of [false, true]) {
  const index = `${prefix}-${compression ? 'gz' : 'plain'}-products`
  const es = new Client({ node: url, compression })
  const tag = compression ? 'gzip ' : ''
  const query = { match: { name: 'shoe' } }
  await call(tag + 'ping', () => es.ping())
  await call(tag + 'info', () => es.info())
  await call(tag + 'create', () => es.indices.create({ index, mappings: { properties: { name: { type: 'text' }, price: { type: 'float' } } } }))
  await call(tag + 'create again', () => es.indices.create({ index }))
  const documents = Array.from({ length: 120 }, (_, i) => ({ n: i, name: 'shoe ' + i, price: i }))
  await call(tag + 'bulk', async () => {
    const { total, failed } = await es.helpers.bulk({
      datasource: documents, onDocument: d => ({ index: { _index: index, _id: 'a/' + d.n } }), refreshOnCompletion: true
    })
    return { total, failed }
  })
  await call(tag + 'get', () => es.get({ index, id: 'a/3' }))
  await call(tag + 'get missing', () => es.get({ index, id: 'none' }))
  await call(tag + 'exists', () => es.exists({ index, id: 'a/3' }))
  await call(tag + 'search', () => es.search({ index, query, size: 5, sort: ['price'] }))
  await call(tag + 'search bad', () => es.search({ index, query: { nothing: {} } }))
  await call(tag + 'msearch', () => es.msearch({ searches: [{ index }, { query, size: 2, sort: ['price'] }] }))
  await call(tag + 'count', () => es.count({ index, query }))
  await call(tag + 'scroll', async () => {
    const ids = []
    for await (const hit of es.helpers.scrollDocuments({ index, query, size: 50 })) ids.push(hit.n)
    return ids.sort((a, b) => a - b)
  })
  const shopper = { headers: { 'X-Customer-Id': 'c1' }, meta: true }
  const several = { searches: [{ index }, { query, size: 2 }] }
  for (const found of [await es.search({ index, query, size: 3 }, shopper), await es.msearch(several, shopper)]) {
    actions.push(found.headers['x-sidecar-action'] ?? '')
  }
  await call(tag + 'delete', () => es.indices.delete({ index }))
  await es.close()
}
const sniffing = new Client({ node: url, sniffOnStart: true })
await new Promise(resolve => setTimeout(resolve, 300))
await call('sniffed ping', () => sniffing.ping())
const nodes = sniffing.connectionPool.connections.map(c => c.url.href)
console.log(JSON.stringify({ results, nodes, actions, client: JSON.parse(readFileSync('node_modules/@elastic/elasticsearch/package.json')).version }))
process.exit(0)
