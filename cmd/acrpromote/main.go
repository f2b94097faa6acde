// Command acrpromote reads the approvals of the run of Azure Pipelines that it
// is part of, and moves container images between registries on their word.
package main

import (
	"os"
)

// version is stamped by the build.
var version = "dev"

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}
