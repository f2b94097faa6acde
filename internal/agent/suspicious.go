package agent

import (
	"encoding/json"
	"runtime"
	"slices"
	"strings"

	"acrpromote/internal/manual"
)

// suspiciousVariables change what runs in a step, or whom it trusts, before or
// below the step's own program. Any variable of a pipeline, except a secret one,
// is in the environment of every step.
var suspiciousVariables = append([]string{
	// Node.js, which runs the launcher.
	"NODE_OPTIONS", "NODE_EXTRA_CA_CERTS", "NODE_TLS_REJECT_UNAUTHORIZED", "NODE_PATH", "OPENSSL_CONF",
	// Shells.
	"BASH_ENV",
	// The dynamic linker.
	"LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "DYLD_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH",
	// Go.
	"GODEBUG", "GOTRACEBACK",
	// Where Azure's libraries ask for the token of a managed identity. This program
	// asks the metadata service at its own address only.
	"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET", "IMDS_ENDPOINT",
	// Authorities that curl and Python's requests trust.
	"CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE",
}, networkVariables...)

// withheldVariable has the names of the variables that are set in the step and that
// the task's launcher does not pass on, as a JSON list.
const withheldVariable = "ACRPROMOTE_WITHHELD"

// withheld returns the names of the variables that the launcher did not pass on.
func withheld(env map[string]string) []string {
	var names []string
	if json.Unmarshal([]byte(env[withheldVariable]), &names) != nil {
		return nil
	}
	return names
}

// suspicious returns the names of the suspicious variables that are set, sorted.
// An empty value counts as not set. On Linux and macOS, only the proxy variables
// are read in lower case as well.
func suspicious(env map[string]string) []string {
	set := withheld(env)
	for name, value := range env {
		if value != "" {
			set = append(set, name)
		}
	}
	var found []string
	for _, name := range set {
		known := name
		if runtime.GOOS == "windows" || strings.HasSuffix(name, "_proxy") {
			known = strings.ToUpper(name)
		}
		if slices.Contains(suspiciousVariables, known) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// warnOfEnvironment warns about the suspicious variables in a pipeline, where
// the program's own step has no use for them.
func (c *Config) warnOfEnvironment() {
	if c.InPipeline && len(c.Suspicious) > 0 {
		c.warn("The environment of this step sets " + strings.Join(c.Suspicious, ", ") +
			". Such variables can run code in the task's launcher or in other steps of the job, or change which servers they trust. " +
			"Find out who sets them, and set them to empty, read-only variables of the job" + manual.Reference("required-template.md") + ".")
	}
}
