// Command release packs the compiled programs for people who use them outside the
// extension: an archive for each platform with a bill of materials, Debian and RPM
// packages, an OCI image layout, and SHA256SUMS over all of them.
//
// The output is reproducible: the same programs give the same bytes.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// epoch is the time of all files unless SOURCE_DATE_EPOCH is set: the earliest that
// the zip format knows.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// platform is an operating system and an architecture, by Go's names.
type platform struct{ os, architecture string }

func (p platform) String() string { return p.os + "-" + p.architecture }

// program is the name of the program on the platform.
func (p platform) program() string {
	if p.os == "windows" {
		return "acrpromote.exe"
	}
	return "acrpromote"
}

// platforms are those that archives are made for.
var platforms = []platform{
	{"linux", "amd64"}, {"linux", "arm64"},
	{"windows", "amd64"}, {"windows", "arm64"},
	{"darwin", "amd64"}, {"darwin", "arm64"},
}

// release is what is packed.
type release struct {
	version string
	bin     string // the folder with <os>-<architecture>/acrpromote
	root    string // the folder with LICENSE, CHANGELOG.md and packaging/
	bills   string // the folder with <os>-<architecture>.cdx.json
	time    time.Time
	// completions are the scripts for shells, by the shell's name.
	completions map[string][]byte
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	r := release{}
	flag.StringVar(&r.version, "version", "", "the version of the programs")
	flag.StringVar(&r.bin, "bin", "bin", "the folder with the programs, as <os>-<architecture>/acrpromote")
	flag.StringVar(&r.root, "root", ".", "the folder of the project")
	flag.StringVar(&r.bills, "sbom", "", "the folder with the bills of materials, as <os>-<architecture>.cdx.json")
	nfpm := flag.String("nfpm", "", "the nfpm program; without it no packages are made")
	local := flag.String("local", "", "the program for this machine, which prints the completion scripts")
	out := flag.String("out", filepath.Join("dist", "release"), "the folder for the results")
	flag.Parse()
	if !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(r.version) {
		return fmt.Errorf("the version %q is not of the form major.minor.patch", r.version)
	}
	var err error
	if r.time, err = sourceDate(os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		return err
	}
	if *local != "" {
		if r.completions, err = completions(ctx, *local); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(*out); err != nil {
		return err
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	if err := r.archives(*out); err != nil {
		return err
	}
	if *nfpm != "" {
		if err := r.packages(ctx, *nfpm, *out); err != nil {
			return err
		}
	}
	if err := r.image(*out); err != nil {
		return err
	}
	return checksums(*out)
}

// sourceDate returns the time of all files: SOURCE_DATE_EPOCH in seconds, as
// https://reproducible-builds.org/specs/source-date-epoch/ defines it.
func sourceDate(seconds string) (time.Time, error) {
	if seconds == "" {
		return epoch, nil
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n < epoch.Unix() {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q; it must be a number of seconds, at least %d (1980)", seconds, epoch.Unix())
	}
	return time.Unix(n, 0).UTC(), nil
}

// checksums writes SHA256SUMS over all files of the folder.
func checksums(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var lines []string
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%x  %s\n", sha256.Sum256(content), e.Name()))
		fmt.Printf("%11d  %s\n", len(content), e.Name())
	}
	if len(lines) == 0 {
		return errors.New("nothing was packed")
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[sha256.Size*2:], b[sha256.Size*2:]) })
	return os.WriteFile(filepath.Join(folder, "SHA256SUMS"), []byte(strings.Join(lines, "")), 0o644)
}
