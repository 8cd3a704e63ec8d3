#!/usr/bin/env node
// The command `jackdaw`: runs the program, hands signals on to it, and ends as it ends.
'use strict';

const { spawn } = require('node:child_process');
const { constants } = require('node:os');
const { binary } = require('./index.js');

const child = spawn(binary, process.argv.slice(2), { stdio: 'inherit' });
for (const signal of ['SIGHUP', 'SIGTERM']) process.on(signal, () => child.kill(signal));
// A terminal has sent this one to the program too, and a second one would stop it at once.
process.on('SIGINT', () => process.stdin.isTTY || child.kill('SIGINT'));
child.once('error', (error) => {
  console.error(`jackdaw: ${error.message}`);
  process.exitCode = 69;
});
child.once('exit', (code, signal) => {
  process.exitCode = code ?? 128 + constants.signals[signal];
});
