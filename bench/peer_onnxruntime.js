// ONNX Runtime, in the protocol of bench/worker.h.
//
// usage: node peer_onnxruntime.js THREADS
// open infer MODEL.onnx FEATURES BATCH PRODUCTS-OF-ONE-SAMPLE

'use strict';

const readline = require('node:readline');
const ort = require('onnxruntime-node');

const WARM_SHARE = 0.2;
const threads = Number(process.argv[2]);
const cases = new Map();
let opened = 0;

function now() {
  return Number(process.hrtime.bigint()) * 1e-9;
}

async function open(model, features, batch, products) {
  const session = await ort.InferenceSession.create(model, {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
  });
  const pixels = Float32Array.from({ length: batch * features }, Math.random);
  const feeds = { x: new ort.Tensor('float32', pixels, [batch, features]) };
  cases.set(opened, { session, feeds });
  return `ok ${opened++} ${batch * products}`;
}

async function callFor(c, seconds, batch) {
  const started = now();
  let calls = 0;
  let elapsed;
  do {
    for (let i = 0; i < batch; i++) await c.session.run(c.feeds);
    calls += batch;
    elapsed = now() - started;
  } while (elapsed < seconds);
  return { calls, elapsed };
}

async function run(c, seconds) {
  const warm = await callFor(c, WARM_SHARE * seconds, 1);
  const inAHundredth = Math.floor((0.01 * seconds * warm.calls) / warm.elapsed);
  const { calls, elapsed } = await callFor(c, seconds, Math.max(1, inAHundredth));
  return `ok ${calls} ${elapsed.toFixed(9)}`;
}

async function answer(words) {
  const [verb, first, ...rest] = words;
  if (verb === 'about') return `ok ONNX Runtime ${ort.env.versions.node}`;
  if (verb === 'open' && first === 'infer' && rest.length === 4) {
    return open(rest[0], ...rest.slice(1).map(Number));
  }
  const c = cases.get(Number(first));
  if (c && verb === 'run') return run(c, Number(rest[0]));
  if (c && verb === 'close') {
    await c.session.release();
    cases.delete(Number(first));
    return 'ok';
  }
  return `error not understood: ${words.join(' ')}`;
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let reply;
    try {
      reply = await answer(line.split(' '));
    } catch (e) {
      reply = `error ${String(e.message).replace(/\s+/g, ' ')}`;
    }
    process.stdout.write(`${reply}\n`);
  }
})();
