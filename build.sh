#!/usr/bin/env bash
# Builds, tests and shows acrpromote. Needs Go and, for the task, Node.
#   ./build.sh          the program for this machine, in bin/
#   ./build.sh demo     the main job, against simulated Azure services
#   ./build.sh test     formatting, vet, staticcheck, import rules, every test
set -euo pipefail
cd "$(dirname "$0")"

staticcheck_version=v0.8.2
registry_version=v3.1.2
version=$(cat VERSION)
tools="$PWD/.tools"
export GOFLAGS="${GOFLAGS:-} -mod=readonly"

say() { printf '== %s\n' "$*"; }

need_go() {
  command -v go >/dev/null 2>&1 || { echo "Go is not on the PATH: install it from https://go.dev/dl/ and run this again." >&2; exit 1; }
}

# compile OS ARCH OUTPUT: static, trimmed, stripped, version stamped.
compile() {
  CGO_ENABLED=0 GOOS=$1 GOARCH=$2 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version" -o "$3" ./cmd/acrpromote
}

build_local() {
  need_go
  mkdir -p bin
  compile "$(go env GOOS)" "$(go env GOARCH)" "bin/acrpromote$(go env GOEXE)"
  say "bin/acrpromote$(go env GOEXE) $version"
}

# The CNCF registry is the peer that no test of ours can flatter.
install_registry() {
  [ -x "$tools/registry-$registry_version" ] && return
  say "installing the CNCF registry $registry_version"
  GOFLAGS= GOBIN="$tools" go install "github.com/distribution/distribution/v3/cmd/registry@$registry_version"
  mv "$tools/registry$(go env GOEXE)" "$tools/registry-$registry_version"
}

run_demo() {
  build_local
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "bin/demo$(go env GOEXE)" ./cmd/demo
  exec "bin/demo$(go env GOEXE)" "bin/acrpromote$(go env GOEXE)"
}

run_tests() {
  need_go
  say "formatting"
  unformatted=$(gofmt -l cmd internal)
  [ -z "$unformatted" ] || { printf 'Not formatted with gofmt:\n%s\n' "$unformatted" >&2; exit 1; }
  say "vet"
  go vet ./...
  say "staticcheck $staticcheck_version"
  GOFLAGS= go run "honnef.co/go/tools/cmd/staticcheck@$staticcheck_version" ./...
  install_registry
  build_local
  race=-race
  if ! CGO_ENABLED=1 go env CC >/dev/null 2>&1 || ! command -v "$(go env CC | cut -d' ' -f1)" >/dev/null 2>&1; then
    if [ "${REQUIRE_RACE:-}" = 1 ]; then
      echo "There is no C compiler, and the race detector needs one: install gcc or clang." >&2
      exit 1
    fi
    say "there is no C compiler: the tests run without the race detector"
    race=
  fi
  say "tests${race:+ with the race detector}"
  ACRPROMOTE_REGISTRY="$tools/registry-$registry_version" ACRPROMOTE_BINARY="$PWD/bin/acrpromote$(go env GOEXE)" \
    go test $race ./...
}

case "${1:-}" in
  "") build_local ;;
  demo) run_demo ;;
  test) run_tests ;;
  *) sed -n '2,5p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2 ;;
esac
