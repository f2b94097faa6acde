// Package docs contains the pages that the program itself shows.
package docs

import _ "embed"

// Troubleshooting is the page troubleshooting.md, in Markdown. The build compresses it:
// package packed reads it.
//
//go:embed troubleshooting.md
var Troubleshooting string
