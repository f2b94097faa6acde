// The software bill of materials of a program (CycloneDX): the modules linked into
// it, which cyclonedx-gomod reads from the program's build information.
//
//   node packaging/sbom.mjs PROGRAM VERSION    prints it
import { execFileSync } from 'node:child_process';
import { pathToFileURL } from 'node:url';

const GENERATOR = 'github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0';

// billOfMaterials returns the bill of materials of a Go program.
export function billOfMaterials(file, version) {
  const bill = execFileSync('go', ['run', GENERATOR, 'bin', '-json', '-noserial', '-notimestamp', '-std', '-version', version, file], {
    encoding: 'utf8',
    // The generator is built for this machine and outside this module.
    env: { ...process.env, GOFLAGS: '', GOOS: '', GOARCH: '' },
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 16 << 20,
  });
  return reproducible(JSON.parse(bill));
}

// reproducible removes the checksums of the generator, which depend on the machine
// that it was built on.
export function reproducible(bill) {
  for (const tool of bill.metadata.tools) delete tool.hashes;
  return bill;
}

// builtWith returns a build setting that the program records, such as GOOS.
export const builtWith = (bill, setting) =>
  bill.metadata.properties.find(({ name }) => name === `cdx:gomod:build:env:${setting}`)?.value;

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.stdout.write(`${JSON.stringify(billOfMaterials(...process.argv.slice(2, 4)), null, 2)}\n`);
}
