// A Kafka-compatible broker for tests. README.md has an example.
'use strict';

const { spawn } = require('node:child_process');
const path = require('node:path');
const readline = require('node:readline');

// The program, for those who start it on their own.
const binary = path.join(__dirname, 'bin', process.arch, 'jackdaw');

class Broker {
  #process;
  #ended;

  constructor(process, ended, ready) {
    this.#process = process;
    this.#ended = ended;
    this.bootstrap = ready.advertised.join(',');
    this.http = ready.http;
    this.pid = process.pid;
  }

  // A second call does nothing.
  async stop() {
    this.#process.ref();
    this.#process.kill('SIGTERM');
    await this.#ended;
  }
}
if (Symbol.asyncDispose) {
  Broker.prototype[Symbol.asyncDispose] = Broker.prototype.stop;
}

async function start(...args) {
  const fixed = ['serve', '--ephemeral', '--listen', '127.0.0.1:0', '--log-format', 'json', '--stop-on-eof'];
  // Settings that are meant for another broker are left out. --log-level has precedence over the variable.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('KAFKA_')));
  env.KAFKA_LOG4J_ROOT_LOGLEVEL = 'WARN';
  const child = spawn(binary, [...fixed, ...args], { env, stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(`it ended with ${signal ?? `exit code ${code}`}`));
  });
  const lines = readline.createInterface({ input: child.stdout });
  const ready = new Promise((resolve) => lines.once('line', resolve));
  const first = await Promise.race([ready.then((line) => ({ line })), ended.then((why) => ({ why }))]);
  if (first.line === undefined) {
    throw new Error(`jackdaw did not start: ${first.why}; its message is on standard error`);
  }
  // The broker does not keep this process alive. The pipe to its standard input, which is never written to, breaks when
  // this process ends, and that stops the broker.
  for (const handle of [child, child.stdin, child.stdout]) handle.unref();
  return new Broker(child, ended, JSON.parse(first.line));
}

module.exports = { binary, start };
