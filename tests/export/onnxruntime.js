// Runs exported networks in ONNX Runtime and compares what they give bit for bit.
//
// usage: node onnxruntime.js FOLDER [LEVELS [BATCHES]]
// FOLDER has files NAME.onnx, NAME.in.f32 or NAME.in.u8 (rows of features) and NAME.out.f32 (the
// outputs that must come, or NAME.near.f32: that must come but for rounding, each within its number
// in NAME.bound.f32 if there is one). Prints a JSON object a
// line for each network, optimization and batch size, and writes what the optimization made of the
// network to NAME.optimized.

'use strict';

const fs = require('node:fs');
const path = require('node:path');
const ort = require('onnxruntime-node');

const folder = process.argv[2];
const LEVELS = (process.argv[3] || 'disabled,all').split(',');
const BATCHES = (process.argv[4] || '1,64').split(',').map(Number);

function read(name, kind) {
  const file = path.join(folder, name);
  if (!fs.existsSync(file)) return null;
  const bytes = fs.readFileSync(file);
  return new kind(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

function bits(floats) {
  return new Uint32Array(floats.buffer, floats.byteOffset, floats.length);
}

// bounds: null, or how far off each may be.
function differs(got, wanted, near, bounds) {
  let n = got.length === wanted.length ? 0 : wanted.length;
  const a = bits(got);
  const b = bits(wanted);
  for (let i = 0; i < got.length; i++) {
    const bound = bounds ? bounds[i] : 1e-5 + 1e-4 * Math.abs(wanted[i]);
    const good = near ? Math.abs(got[i] - wanted[i]) <= bound : a[i] === b[i];
    if (!good) n++;
  }
  return n;
}

async function compare(session, c, batch) {
  let mismatched = 0;
  let compared = 0;
  let farthest = 0;
  for (let row = 0; row < c.rows; row += batch) {
    const n = Math.min(batch, c.rows - row);
    const values = c.input.slice(row * c.features, (row + n) * c.features);
    const kind = c.input instanceof Uint8Array ? 'uint8' : 'float32';
    const feeds = { input: new ort.Tensor(kind, values, [n, c.features]) };
    const got = (await session.run(feeds)).output.data;
    const part = (all) => all && all.slice(row * c.outputs, (row + n) * c.outputs);
    mismatched += differs(got, part(c.wanted), c.near, part(c.bounds));
    compared += got.length;
    for (let i = 0; i < got.length; i++)
      farthest = Math.max(farthest, Math.abs(got[i] - c.wanted[row * c.outputs + i]));
  }
  const most = (all) => all.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  return { compared, mismatched, farthest, largest: most(c.wanted), bound: most(c.bounds || []) };
}

async function run(name) {
  const u8 = read(`${name}.in.u8`, Uint8Array);
  const exact = read(`${name}.out.f32`, Float32Array);
  const shape = JSON.parse(fs.readFileSync(path.join(folder, `${name}.json`), 'utf8'));
  const c = {
    ...shape,
    input: u8 || read(`${name}.in.f32`, Float32Array),
    wanted: exact || read(`${name}.near.f32`, Float32Array),
    near: !exact,
    bounds: read(`${name}.bound.f32`, Float32Array),
  };
  c.rows = c.wanted.length / c.outputs;
  for (const level of LEVELS) {
    const options = {
      graphOptimizationLevel: level,
      intraOpNumThreads: 1,
      interOpNumThreads: 1,
      logSeverityLevel: 3,
    };
    if (level === 'all') options.optimizedModelFilePath = path.join(folder, `${name}.optimized`);
    const session = await ort.InferenceSession.create(path.join(folder, `${name}.onnx`), options);
    for (const batch of BATCHES) {
      const result = await compare(session, c, batch);
      console.log(JSON.stringify({ name, level, batch, ...result }));
    }
    await session.release();
  }
}

(async () => {
  const names = fs.readdirSync(folder).filter((n) => n.endsWith('.onnx')).sort();
  for (const file of names) {
    const name = path.basename(file, '.onnx');
    try {
      await run(name);
    } catch (e) {
      console.log(JSON.stringify({ name, error: String(e.message).replace(/\s+/g, ' ') }));
    }
  }
})();
