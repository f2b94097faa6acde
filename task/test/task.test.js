'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { problems } = require('./schema.js');

const read = (...parts) => JSON.parse(fs.readFileSync(path.join(__dirname, ...parts), 'utf8'));
const schema = read('tasks.schema.json');
const task = read('..', 'task.json');
const gate = read('..', '..', 'gate', 'task.json');
const input = (name) => task.inputs.find((each) => each.name === name);

test('the task is valid against the schema', () => assert.deepEqual(problems(schema, task), []));

test('the gate is, but for its execution, which the schema leaves out for server tasks', () => {
  assert.deepEqual(problems(schema, gate), ['$.execution has an unknown HttpRequest']);
});

test('the validator finds what is wrong', () => {
  const wrong = structuredClone(task);
  wrong.id = 'x';
  wrong.unknown = 1;
  wrong.inputs[0].type = 'list';
  delete wrong.inputs[1].label;
  wrong.inputs[2].properties = { EditableOptions: 'yes' };
  wrong.execution.Node24 = {};
  assert.equal(problems(schema, wrong).length, 6);
  assert.throws(() => problems({ oneOf: [] }, 1));
});

test('names and labels', () => {
  assert.ok(task.friendlyName.length <= 40);
  assert.equal(new Set(task.inputs.map((each) => each.name)).size, task.inputs.length);
  for (const each of task.inputs) assert.ok(each.helpMarkDown.length > 20, each.name);
});

// A value that the agent sends unasked is taken as given, and would outdo the
// flow file or be told as one that the action does not take.
test('nothing has a default but the dry run', () => {
  assert.deepEqual(task.inputs.filter((each) => 'defaultValue' in each).map((each) => [each.name, each.defaultValue]), [['dryRun', 'false']]);
  assert.deepEqual(task.inputs.filter((each) => each.type === 'boolean').map((each) => each.name), ['dryRun']);
  assert.deepEqual(task.inputs.filter((each) => each.required).map((each) => each.name), ['action']);
});

// Of an empty input of this type the agent makes the sources folder.
test('no input is a filePath', () => assert.deepEqual(task.inputs.filter((each) => each.type === 'filePath'), []));

test('pick lists can be left empty, but for the action and the targets', () => {
  for (const each of task.inputs.filter(({ type }) => type === 'pickList')) {
    if (each.name === 'action' || each.name === 'targets') continue;
    assert.equal(Object.keys(each.options)[0], '', each.name);
  }
});

test('groups and rules name what there is', () => {
  const groups = task.groups.map((each) => each.name);
  for (const each of task.inputs) if (each.groupName) assert.ok(groups.includes(each.groupName), each.name);
  const rules = [...task.inputs, ...task.groups].filter((each) => each.visibleRule);
  assert.ok(rules.length > 10);
  for (const { name, visibleRule } of rules) {
    // A rule has one kind of operator: the form does not know precedence.
    assert.ok(!(visibleRule.includes('||') && visibleRule.includes('&&')), `${name}: ${visibleRule}`);
    for (const part of visibleRule.split(/ \|\| | && /)) {
      const [, subject, value] = /^(\w+) !?= (\w+)$/.exec(part) ?? assert.fail(`${name}: ${part}`);
      assert.ok(value in input(subject).options, `${name}: ${part}`);
    }
  }
});

test('connections and the picker of targets', () => {
  assert.equal(input('azureSubscription').type, 'connectedService:AzureRM');
  assert.equal(input('targetSubscription').type, 'connectedService:AzureRM');
  assert.equal(input('registryConnections').type, 'connectedService:dockerregistry');
  assert.deepEqual(input('registryConnections').properties, { EditableOptions: 'False', MultiSelectFlatList: 'True' });
  assert.deepEqual(input('targets').properties, { EditableOptions: 'True', MultiSelectFlatList: 'True' });
  assert.equal(task.dataSourceBindings.length, 1);
  assert.equal(task.dataSourceBindings[0].target, 'targets');
  assert.deepEqual(JSON.parse(task.dataSourceBindings[0].resultTemplate.replaceAll('{{{properties.loginServer}}}', 'x')), { Value: 'x', DisplayValue: 'x' });
});

test('only the output variables can be set', () => {
  const names = task.outputVariables.map((each) => each.name);
  assert.deepEqual(names, ['digest', 'image', 'changed', 'plan', 'report']);
  assert.deepEqual(task.restrictions.settableVariables.allowed, names);
});

test('where and how it runs', () => {
  assert.deepEqual(task.execution, { Node24: { target: 'index.js' }, Node20_1: { target: 'index.js' } });
  assert.equal(task.minimumAgentVersion, '4.248.0');
  assert.deepEqual(task.runsOn, ['Agent', 'DeploymentGroup']);
  assert.deepEqual(task.visibility, ['Build', 'Release']);
});

for (const file of ['task/icon.png', 'gate/icon.png', 'images/icon-128.png']) {
  test(`${file} has the size that is asked for`, () => {
    const png = fs.readFileSync(path.join(__dirname, '..', '..', file));
    const side = file.startsWith('images') ? 128 : 32;
    assert.equal(png.subarray(1, 4).toString('latin1'), 'PNG');
    assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [side, side]);
  });
}
