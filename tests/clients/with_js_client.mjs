// @qdrant/js-client-rest against the server at a URL: `node with_js_client.mjs URL`, beside its node_modules.
import assert from "node:assert/strict";
import { QdrantClient } from "@qdrant/js-client-rest";

const client = new QdrantClient({ url: process.argv[2] });
const name = "js";
const points = [
  { id: 1, vector: { dense: [1, 0, 0, 0], words: { indices: [3, 7], values: [1, 2] } }, payload: { city: "Berlin", price: 10 } },
  { id: 2, vector: { dense: [0.8, 0.6, 0, 0], words: { indices: [7], values: [1] } }, payload: { city: "Berlin", price: 20 } },
  { id: 3, vector: { dense: [0, 1, 0, 0], words: { indices: [9], values: [1] } }, payload: { city: "Paris", price: 30 } },
  { id: "5c56c793-69f3-4fbf-87e6-c4bf54c28c26", vector: { dense: [0, 0, 1, 0] }, payload: { city: "Rome", price: 40 } },
];
const inBerlin = { must: [{ key: "city", match: { value: "Berlin" } }] };
const ids = (found) => found.map((point) => point.id);

await client.versionInfo();
if ((await client.collectionExists(name)).exists) await client.deleteCollection(name);
assert.equal(
  await client.createCollection(name, {
    vectors: { dense: { size: 4, distance: "Cosine" } },
    sparse_vectors: { words: { modifier: "idf" } },
    optimizers_config: { default_segment_number: 2 },
  }),
  true,
);
assert.ok((await client.getCollections()).collections.some((collection) => collection.name === name));
await client.createPayloadIndex(name, { field_name: "city", field_schema: "keyword", wait: true });
assert.equal((await client.upsert(name, { wait: true, points })).status, "completed");
assert.equal((await client.getCollection(name)).points_count, 4);

const nearest = await client.query(name, { query: [1, 0.1, 0, 0], using: "dense", limit: 2, with_payload: true });
assert.deepEqual(ids(nearest.points), [1, 2]);
assert.equal(nearest.points[0].payload.city, "Berlin");
assert.deepEqual(ids((await client.query(name, { query: { indices: [7], values: [1] }, using: "words" })).points), [1, 2]);
const fused = await client.query(name, {
  prefetch: [
    { query: [0, 1, 0, 0], using: "dense", limit: 3 },
    { query: { indices: [9], values: [1] }, using: "words", limit: 3 },
  ],
  query: { fusion: "rrf" },
  limit: 1,
});
assert.deepEqual(ids(fused.points), [3]);
const batch = await client.queryBatch(name, {
  searches: [
    { query: 1, using: "dense", filter: inBerlin },
    { query: { recommend: { positive: [3] } }, using: "dense", limit: 1 },
  ],
});
assert.deepEqual(batch.map((answer) => ids(answer.points)), [[2], [2]]);
const grouped = await client.queryGroups(name, { query: [1, 0, 0, 0], using: "dense", group_by: "city", group_size: 1 });
assert.equal(grouped.groups.length, 3);
assert.deepEqual(ids(await client.search(name, { vector: { name: "dense", vector: [0, 0, 1, 0] }, limit: 1 })), [points[3].id]);

assert.deepEqual(ids((await client.scroll(name, { filter: inBerlin, limit: 1 })).points), [1]);
assert.deepEqual(ids(await client.retrieve(name, { ids: [3], with_vector: true })), [3]);
assert.equal((await client.count(name, { filter: inBerlin })).count, 2);
assert.equal((await client.facet(name, { key: "city" })).hits[0].value, "Berlin");
await client.setPayload(name, { wait: true, payload: { seen: true }, points: [1] });
await client.deletePayload(name, { wait: true, keys: ["price"], points: [1] });
assert.deepEqual((await client.retrieve(name, { ids: [1] }))[0].payload, { city: "Berlin", seen: true });
await client.updateVectors(name, { wait: true, points: [{ id: 3, vector: { dense: [0, 0, 0, 1] } }] });
await client.batchUpdate(name, { wait: true, operations: [{ delete: { points: [2] } }] });
assert.equal((await client.count(name)).count, 3);

await client.updateCollectionAliases({
  actions: [{ create_alias: { collection_name: name, alias_name: "js-alias" } }],
});
assert.equal((await client.getCollectionAliases(name)).aliases.length, 1);
const snapshot = await client.createSnapshot(name);
assert.ok((await client.listSnapshots(name)).some((listed) => listed.name === snapshot.name));
await client.deleteSnapshot(name, snapshot.name);
await assert.rejects(client.getCollection("js-missing"), (error) => error.status === 404);
await assert.rejects(client.query(name, { query: [1, 2], using: "dense" }), (error) => error.status === 400);
assert.equal(await client.deleteCollection(name), true);
