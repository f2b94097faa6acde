// Command docaddress prints the address of the published documentation, which the
// build puts into the program and the extension. A publisher sets it as
// "documentation" in vss-extension.json; it is empty by default.
//
//	docaddress [FILE]
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
)

func main() {
	file := "vss-extension.json"
	if len(os.Args) > 1 {
		file = os.Args[1]
	}
	address, err := read(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(address)
}

// valid matches an address to which "/page.md#anchor" can be appended, and which
// needs no quotes wherever it is put: in Markdown, in JSON, and on a command line.
var valid = regexp.MustCompile(`^https://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*$`)

// read returns the address in a manifest, or "" if it has none.
func read(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var manifest struct {
		Documentation string `json:"documentation"`
	}
	if err := json.Unmarshal(content, &manifest); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	if address := manifest.Documentation; address != "" && !valid.MatchString(address) {
		return "", fmt.Errorf("%s: documentation is %q; it must be an https:// address without a slash at the end, user, query, anchor or escapes, such as https://docs.example.com/acrpromote, or empty", file, address)
	}
	return manifest.Documentation, nil
}
