// packaging/check runs this in a folder in which the npm package is installed.
'use strict';

const assert = require('node:assert');
const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const { readFileSync } = require('node:fs');
const { createRequire } = require('node:module');

const installed = createRequire(`${process.cwd()}/`);
const jackdaw = installed('jackdaw');
const { HookError, Hooks } = installed('jackdaw/hooks');

function run(args, input) {
  return spawnSync('node_modules/.bin/jackdaw', args, { input, encoding: 'utf8' });
}

// A test makes the producer's first request fail, and waits for its record.
async function checkHooks() {
  const broker = await jackdaw.start('--topic', 'orders', '--http', '127.0.0.1:0', '--test-hooks');
  const hooks = new Hooks(`http://${broker.http}`);
  const fault = await hooks.fail('Produce', 'NOT_LEADER_OR_FOLLOWER');
  const producer = spawn(jackdaw.binary, ['produce', 'orders', '--bootstrap', broker.bootstrap]);
  const ended = once(producer, 'exit');
  producer.stdin.end('one coffee\n');
  await hooks.waitForFault(fault);
  assert.strictEqual(await hooks.waitForRecords('orders', 1), 1);
  assert.deepStrictEqual(await ended, [0, null]);
  await assert.rejects(hooks.waitForRecords('orders', 2, 1), new HookError(408, 'orders has 1 of 2 records'));
  await broker.stop();

  const types = readFileSync(installed.resolve('jackdaw/hooks').replace(/\.cjs$/, '.d.cts'), 'utf8');
  const declared = [...types.matchAll(/^  (\w+)\(.*\).*;$/gm)].map((method) => method[1]);
  assert.deepStrictEqual(declared.sort(), Object.getOwnPropertyNames(Hooks.prototype).sort());
}

async function main() {
  const brokers = [await jackdaw.start('--topic', 'greetings:1', '--http', '127.0.0.1:0'), await jackdaw.start()];
  assert.notStrictEqual(brokers[0].bootstrap, brokers[1].bootstrap);
  assert.match(brokers[0].http, /^127\.0\.0\.1:/);
  for (const { bootstrap, pid } of brokers) {
    assert.strictEqual(run(['produce', 'greetings', '--bootstrap', bootstrap], `hello ${pid}\n`).status, 0);
  }
  for (const { bootstrap, pid } of brokers) {
    const read = run(['consume', 'greetings', '--bootstrap', bootstrap, '--until-end'], '');
    assert.strictEqual(read.stdout, `hello ${pid}\n`);
  }
  for (const broker of brokers) await broker.stop();
  await brokers[0].stop();
  assert.strictEqual(run(['health', '--bootstrap', brokers[0].bootstrap], '').status, 69);

  await checkHooks();
  assert.strictEqual((await import(installed.resolve('jackdaw/hooks'))).Hooks, Hooks);

  const three = await jackdaw.start('--brokers', '3', '--log-level', 'error');
  assert.strictEqual(three.bootstrap.split(',').length, 3);
  // It is not stopped: this process ends all the same, and the broker with it.

  await assert.rejects(jackdaw.start('--set', 'node.id=no number'), /exit code 78/);
  console.log('all of it was checked');
}

main();
