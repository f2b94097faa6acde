// The bill of materials of a program, in CycloneDX: what is linked into it, as
// cyclonedx-gomod reads it from the program itself.
import { execFileSync } from 'node:child_process';

const GENERATOR = 'github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0';

// billOfMaterials describes a program that Go has built.
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

// reproducible drops the checksums of the generator, which differ with the
// machine that it was built on.
export function reproducible(bill) {
  for (const tool of bill.metadata.tools) delete tool.hashes;
  return bill;
}

// builtWith returns a setting of the build that the program records, such as
// GOOS.
export const builtWith = (bill, setting) =>
  bill.metadata.properties.find(({ name }) => name === `cdx:gomod:build:env:${setting}`)?.value;
