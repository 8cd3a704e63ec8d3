// packaging/check runs this in a folder in which the npm package is installed.
'use strict';

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const { createRequire } = require('node:module');

const jackdaw = createRequire(`${process.cwd()}/`)('jackdaw');

function run(args, input) {
  return spawnSync('node_modules/.bin/jackdaw', args, { input, encoding: 'utf8' });
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

  const three = await jackdaw.start('--brokers', '3', '--log-level', 'error');
  assert.strictEqual(three.bootstrap.split(',').length, 3);
  // It is not stopped: this process ends all the same, and the broker with it.

  await assert.rejects(jackdaw.start('--set', 'node.id=no number'), /exit code 78/);
  console.log('all of it was checked');
}

main();
