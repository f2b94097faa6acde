'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { evaluate, jsonpath } = require('./expression.js');

const read = (...parts) => JSON.parse(fs.readFileSync(path.join(__dirname, ...parts), 'utf8'));
const gate = read('..', 'task.json');
const task = read('..', '..', 'task', 'task.json');
const request = gate.execution.HttpRequest.Execute;
const release = () => read('release.json');

// The server puts variables and inputs into the text before it reads it.
const passes = (document, stage = 'Production') => evaluate(request.Expression.replaceAll('$(stageName)', stage), document);

const production = (document) => document.environments[1];
const steps = (document) => production(document).deploySteps;
const job = (document, attempt = 0) => steps(document)[attempt].releaseDeployPhases[0].deploymentJobs[0];
const ours = (document, attempt = 0) => job(document, attempt).tasks.find((each) => each.task?.id === task.id);
const copy = (value) => structuredClone(value);

test('the stage has promoted', () => assert.equal(passes(release()), true));

const TASK = ['unknown', 'pending', 'inProgress', 'success', 'failure', 'canceled', 'skipped', 'failed', 'partiallySucceeded', 'Succeeded', '', null, undefined, true, 1];
for (const status of TASK) {
  test(`the step's record says ${status}`, () => {
    const document = release();
    ours(document).status = status;
    assert.equal(passes(document), false);
  });
  test(`one of two steps' records says ${status}`, () => {
    const document = release();
    job(document).tasks.push({ ...ours(document), status });
    assert.equal(passes(document), false);
  });
}
for (const status of ['undefined', 'notStarted', 'inProgress', 'canceled', 'rejected', 'queued', 'scheduled', 'partiallySucceeded', null]) {
  test(`the stage's record says ${status}`, () => {
    const document = release();
    production(document).status = status;
    assert.equal(passes(document), false);
  });
}
for (const status of ['undefined', 'notDeployed', 'inProgress', 'failed', 'partiallySucceeded', 'all', null]) {
  test(`the attempt's record says ${status}`, () => {
    const document = release();
    steps(document)[0].status = status;
    assert.equal(passes(document), false);
  });
}

const cases = {
  'two steps, both succeeded': [true, (d) => { job(d).tasks.push(copy(ours(d))); }],
  'a step in each of two jobs': [true, (d) => { const jobs = steps(d)[0].releaseDeployPhases[0].deploymentJobs; jobs.push(copy(jobs[0])); }],
  'a step in the second phase alone': [true, (d) => { const phases = steps(d)[0].releaseDeployPhases; const first = copy(phases[0]); first.deploymentJobs[0].tasks = []; phases.unshift(first); }],
  'a second job whose step was skipped': [false, (d) => { const jobs = steps(d)[0].releaseDeployPhases[0].deploymentJobs; jobs.push(copy(jobs[0])); jobs[1].tasks.find((each) => each.task?.id === task.id).status = 'skipped'; }],
  'no such step': [false, (d) => { job(d).tasks = job(d).tasks.filter((each) => each.task?.id !== task.id); }],
  'another task of the same name': [false, (d) => { ours(d).task.id = 'e213ff0f-5d5c-4791-802d-52ea3e7be1f1'; }],
  'a task of another name with our id (renamed step)': [true, (d) => { ours(d).name = 'Bring it home'; }],
  'the record names no task': [false, (d) => { delete ours(d).task; }],
  'the step in another stage only': [false, (d) => { const step = ours(d); job(d).tasks.splice(job(d).tasks.indexOf(step), 1); d.environments[0].deploySteps[0].releaseDeployPhases[0].deploymentJobs[0].tasks.push(step); }],
  'the first attempt failed, the second promoted': [true, (d) => { const first = copy(steps(d)[0]); first.status = 'failed'; first.releaseDeployPhases[0].deploymentJobs[0].tasks.find((each) => each.task?.id === task.id).status = 'failed'; steps(d).unshift(first); }],
  'the first attempt promoted, the second failed': [false, (d) => { const second = copy(steps(d)[0]); second.status = 'failed'; second.attempt = 2; steps(d).push(second); production(d).status = 'rejected'; }],
  'promoted, then deployed again without the step': [false, (d) => { const second = copy(steps(d)[0]); second.attempt = 2; second.releaseDeployPhases[0].deploymentJobs[0].tasks = []; steps(d).push(second); }],
  'promoted, then deployed again with the step': [false, (d) => { const second = copy(steps(d)[0]); second.attempt = 2; steps(d).push(second); }],
  'promoted in an attempt that failed, then deployed without the step': [false, (d) => { const second = copy(steps(d)[0]); second.releaseDeployPhases[0].deploymentJobs[0].tasks = []; steps(d)[0].status = 'failed'; steps(d).push(second); }],
  'not deployed yet': [false, (d) => { production(d).deploySteps = []; production(d).status = 'notStarted'; }],
  'two stages of that name': [false, (d) => { d.environments.push(copy(production(d))); }],
  'no deployment steps in the answer': [false, (d) => { delete production(d).deploySteps; }],
  'no stages': [false, (d) => { d.environments = []; }],
  'variables and tags that claim it': [false, (d) => { ours(d).status = 'failed'; d.tags = ['promoted']; d.variables = { status: { value: 'succeeded' } }; }],
};
for (const [name, [wanted, change]] of Object.entries(cases)) {
  test(name, () => {
    const document = release();
    change(document);
    assert.equal(passes(document), wanted);
  });
}

for (const [what, answer] of Object.entries({ nothing: {}, null: null, 'a list': [], 'an error': { message: 'TF400813: not authorized', typeKey: 'UnauthorizedRequestException' }, 'text': 'sign in' })) {
  test(`the answer is ${what}`, () => assert.equal(passes(answer), false));
}

for (const stage of ['', 'production', 'Produc', '*', 'After', 'Staging', '$(stageName)']) {
  test(`the stage is given as "${stage}"`, () => assert.equal(passes(release(), stage), false));
}
for (const stage of ["Bob's", "a''b", "'", "x' , 1", 'x)]']) {
  test(`a stage's name that the expression cannot hold: ${stage}`, () => {
    let passed = false;
    try {
      passed = passes(release(), stage);
    } catch {
      // The server, too, fails what it cannot read.
    }
    assert.equal(passed, false);
  });
}

// A server whose JSONPath reads no strings, or no &&, finds nothing: the gate
// then never passes, rather than always.
test('filters that match nothing do not pass', () => {
  assert.equal(evaluate(request.Expression.replaceAll('$(stageName)', 'Production').replaceAll("== ''", "== ''no "), release()), false);
  for (const filter of ["@.status == ''succeeded''", `@.task.id == ''${task.id}''`]) {
    assert.equal(evaluate(request.Expression.replaceAll('$(stageName)', 'Production').replaceAll(filter, "@.no == ''x''"), release()), false, filter);
  }
});

test('the gate asks for this release, with the job\'s own token and nothing else', () => {
  assert.equal(request.EndpointUrl, '$(system.teamFoundationServerUri)$(system.teamProjectId)/_apis/release/releases/$(release.releaseId)?$expand=tasks&api-version=6.0');
  assert.equal(request.EndpointId, '');
  assert.equal(request.Method, 'GET');
  assert.deepEqual(JSON.parse(request.Headers), { 'Content-Type': 'application/json', Authorization: 'Bearer $(system.accesstoken)' });
});

test('the gate is a server task of its own, for releases', () => {
  assert.deepEqual(gate.runsOn, ['Server', 'ServerGate']);
  assert.deepEqual(gate.visibility, ['Release']);
  assert.notEqual(gate.id, task.id);
  assert.equal('minimumAgentVersion' in gate || 'demands' in gate, false);
  assert.ok(gate.friendlyName.length <= 40);
  assert.ok(request.Expression.includes(task.id));
});

// Examples of Microsoft's own documentation and gates.
test('the evaluator agrees with published examples', () => {
  assert.equal(evaluate("eq(root['status'], 'successful')", { id: 5, status: 'successful' }), true);
  assert.equal(evaluate("ge(count(root['ActiveReleaseNames']), 3)", { ActiveReleaseNames: ['a', 'b', 'c'] }), true);
  assert.equal(evaluate("and(eq(count(jsonpath('Items[?(@.price<50)]')), 1), eq(count(jsonpath('Items[?(@.price>60)]')), 2))", { Items: [{ price: 100 }, { price: 40 }, { price: 70 }] }), true);
  assert.equal(evaluate("and(gt(count(root['responses']), 0), eq(count(jsonpath('$.responses[?(@.httpStatusCode != 200)]')), 0), eq(count(jsonpath('$.responses[*].content.value[?(@.isActive == true)]')), 0))",
    { responses: [{ httpStatusCode: 200, content: { value: [{ isActive: true }] } }] }), false);
});

test('the evaluator refuses what it does not know', () => {
  for (const expression of ['', 'true false', "eq('a')", "eq('a', 'b'", "xnor(true, true)", "'text'", "eq(count('a'), 1)", "gt(count(jsonpath('$.a[0]')), 0)", "gt(count(jsonpath('$.a[?(@.b =~ /x/)]')), 0)"]) {
    assert.throws(() => evaluate(expression, { a: [] }), undefined, expression);
  }
  assert.deepEqual(jsonpath('$.a[*].b', { a: [{ b: 1 }, {}, null, { b: 2 }] }), [1, 2]);
});
