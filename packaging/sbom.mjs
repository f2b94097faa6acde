// The bill of materials (CycloneDX 1.6, JSON): the programs in the package and
// what is really linked into them, as they themselves say. It bears no time and
// no serial number, so that the same programs give the same document.

// parseBuild reads what `go version -m FILE` prints.
export function parseBuild(text) {
  const [first, ...lines] = text.trimEnd().split('\n');
  const go = /: (go\d[^\s]*)/.exec(first)?.[1];
  if (!go) throw new Error(`This is no program built by Go: ${first}`);
  const build = { go, modules: [], settings: {} };
  for (const line of lines) {
    const [kind, ...rest] = line.replace(/^\t/, '').split('\t');
    if (kind === 'mod') build.main = rest[0];
    if (kind === 'dep') build.modules.push({ path: rest[0], version: rest[1], sum: rest[2] ?? '' });
    // A replacement follows the module that it stands for.
    if (kind === '=>') Object.assign(build.modules.at(-1), { path: rest[0], version: rest[1], sum: rest[2] ?? '' });
    if (kind === 'build') {
      const [key, value] = rest[0].split('=', 2);
      build.settings[key] = value;
    }
  }
  if (!build.main) throw new Error(`The program does not say what module it is: ${first}`);
  return build;
}

const purl = (path, version) => `pkg:golang/${path.split('/').map(encodeURIComponent).join('/')}@${encodeURIComponent(version)}`;

// billOfMaterials describes programs [{name, sha256, build}] of one version.
export function billOfMaterials(version, programs) {
  const modules = new Map();
  const toolchains = new Set();
  for (const { build } of programs) {
    toolchains.add(build.go);
    for (const module of build.modules) modules.set(purl(module.path, module.version), module);
  }
  const refs = (build) => [...build.modules.map((module) => purl(module.path, module.version)), purl('std', build.go.slice(2))].sort();
  const root = purl('acrpromote', version);
  const libraries = [
    ...[...modules].map(([ref, { path, version: at, sum }]) => ({
      type: 'library', 'bom-ref': ref, name: path, version: at, purl: ref,
      ...(sum && { properties: [{ name: 'go:sum', value: sum }] }),
    })),
    ...[...toolchains].map((go) => ({ type: 'library', 'bom-ref': purl('std', go.slice(2)), name: 'std', version: go.slice(2), purl: purl('std', go.slice(2)), description: 'The standard library of Go' })),
  ].sort((a, b) => (a['bom-ref'] < b['bom-ref'] ? -1 : 1));
  const files = programs.map(({ name, sha256 }) => ({ type: 'file', 'bom-ref': `file:${name}`, name, hashes: [{ alg: 'SHA-256', content: sha256 }] }));
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: { component: { type: 'application', 'bom-ref': root, name: 'acrpromote', version, purl: root, licenses: [{ license: { id: 'MIT' } }] } },
    components: [...files, ...libraries],
    dependencies: [
      { ref: root, dependsOn: files.map((file) => file['bom-ref']) },
      ...programs.map(({ name, build }) => ({ ref: `file:${name}`, dependsOn: refs(build) })),
      ...libraries.map((library) => ({ ref: library['bom-ref'] })),
    ],
  };
}
