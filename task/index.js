'use strict';
// The agent can start Node but not a native program. This launcher starts the
// program for the platform, and reports every way in which it can fail as the
// agent expects: with a logging command and exit code 0. It makes no decisions.
// Environment, standard output and standard error are passed through unchanged;
// standard input is the program's lifeline (see LIFELINE).
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

// The program for each platform, by Node's name of the platform.
const PROGRAMS = {
  'linux-x64': 'linux-amd64/acrpromote',
  'linux-arm64': 'linux-arm64/acrpromote',
  'win32-x64': 'windows-amd64/acrpromote.exe',
  'darwin-arm64': 'darwin-arm64/acrpromote',
};

// The first bytes of every program of a platform. execvp passes a file of an
// unknown format to the shell, so a damaged program must not be started.
const BEGINNINGS = { linux: '7f454c46', win32: '4d5a', darwin: 'cffaedfe' };

// The first and only line on the program's standard input. The stream ends when
// this process ends, however it ends.
const LIFELINE = 'acrpromote-launcher\n';

// What the program reads of its environment: names that begin so, and names. Nothing
// else is passed on: any public variable of a pipeline is in the environment of this
// task, and some of them would run code in the program or change whom it trusts.
const PASSED = {
  prefixes: ['INPUT_', 'ENDPOINT_', 'SYSTEM_', 'BUILD_', 'RELEASE_', 'AGENT_', 'SECRET_AGENT_'],
  names: [
    'TF_BUILD', 'VSTS_PUBLIC_VARIABLES', 'VSTS_SECRET_VARIABLES', 'SECRET_SYSTEM_ACCESSTOKEN',
    'NO_COLOR', 'TERM', 'COLUMNS', 'TEMP', 'TMP', 'TMPDIR',
    'SYSTEMROOT', 'WINDIR', // without these, Windows opens no socket
  ],
};

// The names of the variables that are set and not passed on, as a JSON list, so that
// the program can report the suspicious ones.
const WITHHELD = 'ACRPROMOTE_WITHHELD';

let reported = false;

function complete(result, message) {
  if (reported) return;
  reported = true;
  const text = message.replace(/%/g, '%AZP25').replace(/\r/g, '%0D').replace(/\n/g, '%0A');
  const issue = result === 'Failed' ? `##vso[task.logissue type=error]${text}\n` : '';
  process.stdout.write(`${issue}##vso[task.complete result=${result}]${text}\n`);
}

const fail = (message) => complete('Failed', message);

// program returns the path of the program that is part of this task, or throws
// an error with a complete message.
function program() {
  const here = `${process.platform}-${process.arch}`;
  const name = PROGRAMS[here];
  if (!name) {
    throw new Error(`acrpromote does not run on this agent's platform (${here}). Choose a pool with agents for one of these: ${Object.keys(PROGRAMS).join(', ')}.`);
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
    throw new Error(`The agent cannot read the program of the AcrPromote task (${error.code}: ${file}). ${AGAIN}`);
  }
  const expected = JSON.parse(fs.readFileSync(path.join(__dirname, 'bin', 'sizes.json'), 'utf8'))[name];
  if (size !== expected || beginning !== BEGINNINGS[process.platform]) {
    throw new Error(`The program of the AcrPromote task is damaged on this agent (${size} of ${expected} bytes: ${file}). ${AGAIN}`);
  }
  return file;
}

const AGAIN = 'Delete the task from the agent\'s _tasks folder, so that the agent downloads it again, and rerun the step.';

// executable makes the program executable, because the package format does not
// keep that bit. If the task's folder is read-only, it makes an executable copy.
// It returns the path to start and the folder to remove afterwards, if any.
function executable(file) {
  if (process.platform === 'win32') return { file };
  try {
    fs.chmodSync(file, 0o755);
  } catch {
    // The next check decides.
  }
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return { file };
  } catch {
    // The folder is read-only or mounted noexec.
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
    throw new Error(`The program of the AcrPromote task is not executable (${file}) and cannot be copied to the agent's temporary folder ${temporary} (${error.code}). Allow the agent's user to write to that folder.`);
  }
}

function remove(folder) {
  if (!folder) return;
  try {
    fs.rmSync(folder, { recursive: true, force: true });
  } catch {
    // The agent cleans its temporary folder before the next job.
  }
}

function startError(error, file) {
  switch (error.code) {
    case 'E2BIG':
    case 'ENAMETOOLONG':
      return `An input or variable of this job is longer than the agent's operating system allows (${error.code}). Put long lists into a file, or shorten the variable.`;
    case 'EACCES':
    case 'EPERM':
      return `The agent's user may not run the program of the AcrPromote task (${error.code}: ${file}). Check for a file system mounted noexec, or a policy that forbids it.`;
    case 'ENOEXEC':
    case 'UNKNOWN':
      return `The agent cannot run the program of the AcrPromote task (${error.code}: ${file}). It is damaged, or a policy forbids it. ${AGAIN}`;
    default:
      return `Starting the program of the AcrPromote task failed (${error.code || error.message}: ${file}).`;
  }
}

// environment returns the variables for the program.
function environment() {
  const passed = {};
  const withheld = [];
  for (const [name, value] of Object.entries(process.env)) {
    const known = process.platform === 'win32' ? name.toUpperCase() : name;
    if (PASSED.names.includes(known) || PASSED.prefixes.some((prefix) => known.startsWith(prefix))) {
      passed[name] = value;
    } else if (value !== '') {
      withheld.push(name);
    }
  }
  passed[WITHHELD] = JSON.stringify(withheld);
  return passed;
}

function run() {
  const { file, folder } = executable(program());
  let stopping = false;
  let child;
  // Handlers are installed before the program starts, so that no signal is
  // missed.
  const stop = (signal) => {
    stopping = true;
    // On Windows the console has already signalled the program, and kill would
    // terminate it at once.
    if (process.platform !== 'win32') child.kill(signal);
  };
  for (const signal of ['SIGINT', 'SIGTERM', ...(process.platform === 'win32' ? ['SIGBREAK'] : ['SIGHUP'])]) {
    process.on(signal, stop);
  }

  try {
    child = spawn(file, [], { env: environment(), stdio: ['pipe', 'inherit', 'inherit'] });
  } catch (error) {
    remove(folder);
    throw new Error(startError(error, file));
  }
  child.stdin.on('error', () => {}); // the program ended before it read the line
  child.stdin.write(LIFELINE);

  child.on('error', (error) => {
    remove(folder);
    fail(startError(error, file));
  });
  child.on('exit', (code, signal) => {
    remove(folder);
    if (code === 0) return; // the program has reported its result
    if (stopping) {
      complete('Canceled', 'AcrPromote was stopped before it could report its result. Run the step again; content that has arrived is not copied twice.');
    } else if (signal) {
      fail(`AcrPromote was ended by the signal ${signal} before it could report its result. SIGKILL usually means that the agent ran out of memory. Run the step again; content that has arrived is not copied twice.`);
    } else {
      fail(`AcrPromote ended with exit code ${code} without reporting a result. See its last lines above.`);
    }
  });
}

process.on('uncaughtException', (error) => fail(error.message));
run();
