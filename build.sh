#!/usr/bin/env bash
# Builds, tests and demonstrates acrpromote. Needs Go and, for the task, Node.
#   ./build.sh          everything: the programs in bin/, the extension in dist/
#   ./build.sh demo     the whole scenario, against simulated Azure services
#   ./build.sh bench    compares with peers: time, CPU, memory, requests (-full: every case)
#   ./build.sh interop  promotes what other clients push, judged by other clients
#   ./build.sh live-check   answers in Azure itself what is not documented: docs/live-check.md
#   ./build.sh release  archives, .deb, .rpm and an OCI image layout of the program: dist/release
#   ./build.sh screenshots   renders images/screenshot-*.png; needs Chromium
#   ./build.sh test     formatting, vet, staticcheck, import rules, every test
set -euo pipefail
cd "$(dirname "$0")"

staticcheck_version=v0.8.2
registry_version=v3.1.2
registry2_version=v2.8.3
crane_version=v0.22.1
regctl_version=v0.11.7
oras_version=v1.3.6
helm_version=v3.22.0
cosign_version=v3.1.3
slsa_verifier_version=v2.7.1
nfpm_version=v2.48.0
conformance_version=v0.0.0-20260831232431-97274622c111
version=$(cat VERSION)
tools="$PWD/.tools"
export GOFLAGS="${GOFLAGS:-} -mod=readonly"

say() { printf '== %s\n' "$*"; }

need_go() {
  command -v go >/dev/null 2>&1 || { echo "Go is not on the PATH: install it from https://go.dev/dl/, then run this again." >&2; exit 1; }
}

# Functions are inlined in the runtime, in ciphers, hashes and compression, and where
# images are copied. Inlined everywhere they would add 1 MB.
inlining=(-gcflags=all=-l)
for inlined in runtime/... crypto/... internal/... hash/... compress/... math/... unicode/... sync/... bytes strings \
  bufio io syscall slices golang.org/x/net/http2/... acrpromote/internal/transfer acrpromote/internal/egress; do
  inlining+=("-gcflags=$inlined=")
done
for plain in crypto/tls/... crypto/x509/... crypto/internal/fips140/mlkem/... math/big/...; do
  inlining+=("-gcflags=$plain=-l")
done

# The texts in the program. They are compressed in it; without that they would add 100 kB.
packed_texts=(docs/troubleshooting.md internal/topology/flow.schema.json
  internal/htmlreport/page.html internal/htmlreport/style.css internal/htmlreport/script.js)

# compile OS ARCH OUTPUT: static, with trimmed paths, stripped, with the version, the
# address of the documentation and compressed texts.
compile() {
  local address alignment= overlay
  address=$(go run ./cmd/docaddress) || exit 1
  overlay=$(go run ./cmd/packtexts bin/packed "${packed_texts[@]}") || exit 1
  # Functions start at 32 bytes by default, which is 1 % of the program on amd64.
  [ "$2" != amd64 ] || alignment=-funcalign=16
  CGO_ENABLED=0 GOOS=$1 GOARCH=$2 go build -trimpath -buildvcs=false -tags nethttpomithttp2 -overlay "$overlay" "${inlining[@]}" \
    -ldflags "-s -w $alignment -X main.version=$version -X acrpromote/internal/manual.address=$address" -o "$3" ./cmd/acrpromote
}

need_node() {
  command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 || { echo "Node is not on the PATH: install it from https://nodejs.org/, then run this again." >&2; exit 1; }
}

# The extension contains a program for each agent platform.
build_extension() {
  need_go
  need_node
  for platform in linux-amd64 linux-arm64 windows-amd64 darwin-arm64; do
    suffix=
    [ "${platform%-*}" = windows ] && suffix=.exe
    mkdir -p "bin/$platform"
    compile "${platform%-*}" "${platform#*-}" "bin/$platform/acrpromote$suffix"
  done
  install_node_modules
  node packaging/package.mjs
}

install_node_modules() {
  if [ ! -f node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    say "installing tfx-cli and what the tab is built with"
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
    touch node_modules/.package-lock.json
  fi
}

build_local() {
  need_go
  mkdir -p bin
  compile "$(go env GOOS)" "$(go env GOARCH)" "bin/acrpromote$(go env GOEXE)"
  say "bin/acrpromote$(go env GOEXE) $version"
}

# The CNCF registry is an independent implementation to test against.
install_registry() {
  [ -x "$tools/registry-$registry_version" ] && return
  say "installing the CNCF registry $registry_version"
  GOFLAGS= GOBIN="$tools" go install "github.com/distribution/distribution/v3/cmd/registry@$registry_version"
  mv "$tools/registry$(go env GOEXE)" "$tools/registry-$registry_version"
}

# The generation before it, from a module of our own: interop/registry2.
install_registry2() {
  [ -x "$tools/registry2-$registry2_version" ] && return
  say "installing the registry $registry2_version"
  mkdir -p "$tools"
  (cd interop/registry2 && go build -trimpath -buildvcs=false -o "$tools/registry2-$registry2_version" .)
}

# The OCI conformance suite defines what a registry has to answer.
install_conformance() {
  [ -x "$tools/conformance-$conformance_version" ] && return
  say "installing the OCI distribution conformance suite"
  GOFLAGS= GOBIN="$tools" go install "github.com/opencontainers/distribution-spec/conformance@$conformance_version"
  mv "$tools/conformance$(go env GOEXE)" "$tools/conformance-$conformance_version"
}

# It accepts receipts. Its module replaces others, so go install cannot build it.
install_slsa_verifier() {
  [ -x "$tools/slsa-verifier-$slsa_verifier_version" ] && return
  say "installing slsa-verifier $slsa_verifier_version"
  (cd interop/slsaverifier && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$tools/slsa-verifier-$slsa_verifier_version" github.com/slsa-framework/slsa-verifier/v2/cli/slsa-verifier)
}

# Other clients, each as module/cmd/NAME@VERSION.
install_clients() {
  for client in "$@"; do
    client_version=${client##*@}
    name=${client%@*}
    name=${name##*/}
    [ -x "$tools/$name-$client_version" ] && continue
    say "installing $name $client_version"
    GOFLAGS= GOBIN="$tools" CGO_ENABLED=0 go install "$client"
    mv "$tools/$name$(go env GOEXE)" "$tools/$name-$client_version"
  done
}

# The peers that the benchmark compares with.
install_peers() {
  install_clients "github.com/google/go-containerregistry/cmd/crane@$crane_version" \
    "github.com/regclient/regclient/cmd/regctl@$regctl_version" "oras.land/oras/cmd/oras@$oras_version"
}

# The version of a program that is on the PATH.
installed_version() {
  "$1" --version | head -n 1 | grep -o '[0-9][^ ]*' | head -n 1
}

# Other clients, too large to build for every test. helm and cosign take minutes.
# Go cannot install skopeo and umoci: their modules replace others.
run_interop() {
  build_local
  command -v skopeo >/dev/null 2>&1 && command -v umoci >/dev/null 2>&1 || {
    echo "skopeo and umoci are not on the PATH: install the packages of your distribution, for example: apt-get install skopeo umoci" >&2
    exit 1
  }
  install_registry
  install_registry2
  install_peers
  install_clients "helm.sh/helm/v3/cmd/helm@$helm_version" "github.com/sigstore/cosign/v3/cmd/cosign@$cosign_version"
  install_slsa_verifier
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "bin/interop$(go env GOEXE)" ./cmd/interop
  exec "bin/interop$(go env GOEXE)" -acrpromote "bin/acrpromote$(go env GOEXE)" \
    -registry "$tools/registry-$registry_version" -registry2 "$tools/registry2-$registry2_version" \
    -crane "$tools/crane-$crane_version" -regctl "$tools/regctl-$regctl_version" -oras "$tools/oras-$oras_version" \
    -helm "$tools/helm-$helm_version" -cosign "$tools/cosign-$cosign_version" -slsa-verifier "$tools/slsa-verifier-$slsa_verifier_version" \
    -versions "acrpromote $version, CNCF registry $registry_version, docker-registry $registry2_version, crane and go-containerregistry $crane_version, regctl $regctl_version, oras $oras_version, helm $helm_version, cosign $cosign_version, slsa-verifier $slsa_verifier_version, skopeo $(installed_version skopeo), umoci $(installed_version umoci)" \
    -page docs/conformance.md "$@"
}

run_bench() {
  build_local
  install_registry
  install_peers
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "bin/bench$(go env GOEXE)" ./cmd/bench
  skopeo=$(command -v skopeo || true)
  exec "bin/bench$(go env GOEXE)" -registry "$tools/registry-$registry_version" -acrpromote "bin/acrpromote$(go env GOEXE)" \
    -crane "$tools/crane-$crane_version" -regctl "$tools/regctl-$regctl_version" -oras "$tools/oras-$oras_version" ${skopeo:+-skopeo "$skopeo"} \
    -versions "acrpromote=$version,crane=$crane_version,regctl=$regctl_version,oras=$oras_version,registry=$registry_version${skopeo:+,skopeo=$(installed_version skopeo)}" -out docs "$@"
}

run_screenshots() {
  build_local
  need_node
  install_node_modules
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "bin/demo$(go env GOEXE)" ./cmd/demo
  node packaging/screenshots.mjs "$PWD/bin/demo$(go env GOEXE)" "$PWD/bin/acrpromote$(go env GOEXE)"
}

run_demo() {
  build_local
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "bin/demo$(go env GOEXE)" ./cmd/demo
  exec "bin/demo$(go env GOEXE)" "$@" "bin/acrpromote$(go env GOEXE)"
}

# The program that answers open facts in Azure itself. The pipeline that it prints
# runs it on a Linux agent.
run_live_check() {
  need_go
  mkdir -p bin
  for output in "livecheck$(go env GOEXE):$(go env GOOS):$(go env GOARCH)" livecheck-linux-amd64:linux:amd64; do
    IFS=: read -r file os arch <<<"$output"
    CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version" -o "bin/$file" ./cmd/livecheck
  done
  [ $# -gt 0 ] || set -- -h
  exec "bin/livecheck$(go env GOEXE)" "$@"
}

# The program for people who use it outside the extension: docs/install.md.
run_release() {
  build_local
  need_node
  install_clients "github.com/goreleaser/nfpm/v2/cmd/nfpm@$nfpm_version"
  bills=$(mktemp -d)
  trap 'rm -rf "$bills"' EXIT
  for platform in linux-amd64 linux-arm64 windows-amd64 windows-arm64 darwin-amd64 darwin-arm64; do
    suffix=
    [ "${platform%-*}" = windows ] && suffix=.exe
    mkdir -p "bin/$platform"
    compile "${platform%-*}" "${platform#*-}" "bin/$platform/acrpromote$suffix"
    node packaging/sbom.mjs "bin/$platform/acrpromote$suffix" "$version" >"$bills/$platform.cdx.json"
  done
  go run ./cmd/release -version "$version" -sbom "$bills" -nfpm "$tools/nfpm-$nfpm_version" \
    -local "bin/acrpromote$(go env GOEXE)" -out dist/release
}

run_tests() {
  need_go
  say "formatting"
  unformatted=$(gofmt -l cmd internal interop)
  [ -z "$unformatted" ] || { printf 'Not formatted with gofmt:\n%s\n' "$unformatted" >&2; exit 1; }
  say "vet"
  go vet ./...
  say "staticcheck $staticcheck_version"
  GOFLAGS= go run "honnef.co/go/tools/cmd/staticcheck@$staticcheck_version" ./...
  install_registry
  install_registry2
  install_conformance
  need_node
  build_extension
  vsix="$PWD/dist/$(node -p 'require("./vss-extension.json").publisher').acrpromote-$version.vsix"
  # What .ci/run installs in the meantime.
  while [ -n "${INSTALLING:-}" ] && kill -0 "$INSTALLING" 2>/dev/null; do sleep 1; done
  say "tests of the launcher, the gate, the tab, the packaging and the HTML report"
  ACRPROMOTE_PROGRAM="$PWD/bin/$(go env GOOS)-$(go env GOARCH)/acrpromote$(go env GOEXE)" node --test task/test/*.test.js gate/test/*.test.js tab/test/*.test.mjs packaging/test/*.test.mjs
  race=-race
  if ! CGO_ENABLED=1 go env CC >/dev/null 2>&1 || ! command -v "$(go env CC | cut -d' ' -f1)" >/dev/null 2>&1; then
    if [ "${REQUIRE_RACE:-}" = 1 ]; then
      echo "The race detector needs a C compiler: install gcc or clang." >&2
      exit 1
    fi
    say "no C compiler found: running the tests without the race detector"
    race=
  fi
  export ACRPROMOTE_VSIX="$vsix" ACRPROMOTE_REGISTRY="$tools/registry-$registry_version" \
    ACRPROMOTE_REGISTRY2="$tools/registry2-$registry2_version" ACRPROMOTE_CONFORMANCE="$tools/conformance-$conformance_version"
  # What starts no goroutine needs no race detector: the packages that decide, and the
  # tests of the program, which run the program with it.
  local pure concurrent
  pure=$(go list ./internal/{approval,card,collection,doctor,drift,explain,expression,htmlreport,imageinfo,junit,levenshtein,manual,markup,ocierror,outcome,packed,plan,recall,receipt,ref,referrer,refusal,rule,sanitize,sarif,sbom,seal,sorting,strictjson,topology,trace})
  concurrent=$(go list ./... | grep -vxF -e acrpromote/cmd/acrpromote -e "$pure")
  say "tests of the program${race:+ with the race detector}, and of what decides"
  # shellcheck disable=SC2086
  ACRPROMOTE_RACE=${race:+1} go test -parallel 5 -timeout 30m ./cmd/acrpromote $pure
  # These repeat what other tests do, many times or with much data.
  local load='^(TestInterruptedAnywhere|TestIndexOfLargeManifests|TestLargeManifests|TestLargeSet|TestDoctorOfDamagedDocuments)$'
  go test -run "$load" ./internal/transfer ./internal/azdo
  say "tests of the other packages${race:+ with the race detector}"
  # shellcheck disable=SC2086
  go test $race -p 4 -parallel 3 -timeout 30m -skip "$load" $concurrent
}

case "${1:-}" in
  "") build_local; build_extension ;;
  demo) shift; run_demo "$@" ;;
  bench) shift; run_bench "$@" ;;
  interop) shift; run_interop "$@" ;;
  live-check) shift; run_live_check "$@" ;;
  release) run_release ;;
  screenshots) run_screenshots ;;
  test) run_tests ;;
  *) sed -n '2,10p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2 ;;
esac
