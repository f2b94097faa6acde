'use strict';
// The agent can start node but no program of ours: this starts the program for
// the machine it finds itself on, and tells every way in which it can die as
// the agent wants it told, by a logging command and exit code 0. It decides
// nothing. Environment, standard output and standard error go through as they
// are; standard input is the program's lifeline (see LIFELINE).
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

// The program for each platform, as Node names these.
const PROGRAMS = {
  'linux-x64': 'linux-amd64/acrpromote',
  'linux-arm64': 'linux-arm64/acrpromote',
  'win32-x64': 'windows-amd64/acrpromote.exe',
  'darwin-arm64': 'darwin-arm64/acrpromote',
};

// What every program of a platform begins with. execvp hands a file that the
// kernel does not know to the shell, so a damaged one must never get that far.
const BEGINNINGS = { linux: '7f454c46', win32: '4d5a', darwin: 'cffaedfe' };

// The first line on the program's standard input. After it nothing comes; the
// end of the stream is the end of this process, however it came about.
const LIFELINE = 'acrpromote-launcher\n';

let told = false;

function complete(result, message) {
  if (told) return;
  told = true;
  const text = message.replace(/%/g, '%AZP25').replace(/\r/g, '%0D').replace(/\n/g, '%0A');
  const issue = result === 'Failed' ? `##vso[task.logissue type=error]${text}\n` : '';
  process.stdout.write(`${issue}##vso[task.complete result=${result}]${text}\n`);
}

const fail = (message) => complete('Failed', message);

// program returns the path of the program that came with this task, or throws
// a sentence.
function program() {
  const here = `${process.platform}-${process.arch}`;
  const name = PROGRAMS[here];
  if (!name) {
    throw new Error(`acrpromote has no program for this agent (${here}). It runs on ${Object.keys(PROGRAMS).join(', ')}: choose a pool with such agents.`);
  }
  const file = path.join(__dirname, 'bin', ...name.split('/'));
  let size;
  let beginning;
  try {
    const handle = fs.openSync(file, 'r');
    try {
      size = fs.fstatSync(handle).size;
      const bytes = Buffer.alloc(BEGINNINGS[process.platform].length / 2);
      fs.readSync(handle, bytes, 0, bytes.length, 0);
      beginning = bytes.toString('hex');
    } finally {
      fs.closeSync(handle);
    }
  } catch (error) {
    throw new Error(`The program of the AcrPromote task cannot be read on this agent (${error.code} at ${file}). ${AGAIN}`);
  }
  const whole = JSON.parse(fs.readFileSync(path.join(__dirname, 'bin', 'sizes.json'), 'utf8'))[name];
  if (size !== whole || beginning !== BEGINNINGS[process.platform]) {
    throw new Error(`The program of the AcrPromote task is damaged on this agent (${size} of ${whole} bytes at ${file}). ${AGAIN}`);
  }
  return file;
}

const AGAIN = 'Delete the task from the agent\'s _tasks folder, so that the agent fetches it again, and run the step once more.';

// executable makes the program executable, for the package format keeps no such
// bit, or a copy of it where the task's folder allows no change. It returns the
// path to start and the folder to remove afterwards, if any.
function executable(file) {
  if (process.platform === 'win32') return { file };
  try {
    fs.chmodSync(file, 0o755);
  } catch {
    // Whether it may be run is asked next.
  }
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return { file };
  } catch {
    // A folder that cannot be written, or is mounted noexec.
  }
  const temporary = process.env.AGENT_TEMPDIRECTORY || os.tmpdir();
  let folder;
  try {
    folder = fs.mkdtempSync(path.join(temporary, 'acrpromote-'));
    const copy = path.join(folder, path.basename(file));
    fs.copyFileSync(file, copy);
    fs.chmodSync(copy, 0o755);
    return { file: copy, folder };
  } catch (error) {
    remove(folder);
    throw new Error(`The program of the AcrPromote task is not executable at ${file}, and could not be copied to the agent's temporary folder ${temporary} (${error.code}). Give the agent's user the right to write there.`);
  }
}

function remove(folder) {
  if (!folder) return;
  try {
    fs.rmSync(folder, { recursive: true, force: true });
  } catch {
    // The agent empties its temporary folder before the next job.
  }
}

function startError(error, file) {
  switch (error.code) {
    case 'E2BIG':
    case 'ENAMETOOLONG':
      return `An input or a variable of this job is longer than this agent's operating system lets a program be given (${error.code}). Put long lists into a file, or make the variable shorter.`;
    case 'EACCES':
    case 'EPERM':
      return `The agent's user may not run the program of the AcrPromote task (${error.code} at ${file}). Look for a file system mounted noexec, or a policy that forbids it.`;
    case 'ENOEXEC':
    case 'UNKNOWN':
      return `The program of the AcrPromote task cannot be run on this agent (${error.code} at ${file}): it is damaged, or a policy forbids it. ${AGAIN}`;
    default:
      return `The program of the AcrPromote task could not be started (${error.code || error.message} at ${file}).`;
  }
}

function run() {
  const { file, folder } = executable(program());
  let stopping = false;
  let child;
  // Before the program is there, so that no signal finds this process without
  // an ear.
  const stop = (signal) => {
    stopping = true;
    // On Windows the console has told the program already, and kill would end
    // it there and then.
    if (process.platform !== 'win32') child.kill(signal);
  };
  for (const signal of ['SIGINT', 'SIGTERM', ...(process.platform === 'win32' ? ['SIGBREAK'] : ['SIGHUP'])]) {
    process.on(signal, stop);
  }

  try {
    child = spawn(file, [], { stdio: ['pipe', 'inherit', 'inherit'] });
  } catch (error) {
    remove(folder);
    throw new Error(startError(error, file));
  }
  child.stdin.on('error', () => {}); // a program that ended before it read a line
  child.stdin.write(LIFELINE);

  child.on('error', (error) => {
    remove(folder);
    fail(startError(error, file));
  });
  child.on('exit', (code, signal) => {
    remove(folder);
    if (code === 0) return; // it has told its result itself
    if (stopping) {
      complete('Canceled', 'AcrPromote was stopped before it could tell how far it had come. Run the step again: what has arrived is not copied twice.');
    } else if (signal) {
      fail(`AcrPromote was ended by the signal ${signal}, before it could tell a result. SIGKILL mostly means that the agent ran out of memory. Run the step again: what has arrived is not copied twice.`);
    } else {
      fail(`AcrPromote ended with exit code ${code}, without telling a result. Its last lines above say more.`);
    }
  });
}

process.on('uncaughtException', (error) => fail(error.message));
run();
