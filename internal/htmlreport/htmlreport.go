// Package htmlreport puts results into one page of HTML that needs nothing from
// elsewhere. The page's own script draws them; its policy forbids everything else.
package htmlreport

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"acrpromote/internal/manual"
	"acrpromote/internal/packed"
	"acrpromote/internal/report"
)

// The parts of the page, as package packed reads them.
//
//go:embed page.html
var page string

//go:embed style.css
var style string

//go:embed script.js
var script string

// longestPlain is how many bytes of results are in the page as they are. More are
// compressed, because sets repeat themselves: 500 images at 20 registries take 8 MB.
const longestPlain = 512 << 10

// Write writes the page of one or several results, such as those of the parallel jobs
// or of the stages of a run.
func Write(w io.Writer, results []report.Result) error {
	if len(results) == 0 {
		return errors.New("there is no result")
	}
	var data lines
	for _, r := range results {
		if err := write(&data, r); err != nil {
			return err
		}
	}
	text, form, err := data.text()
	if err != nil {
		return err
	}
	css, js := packed.Text(style), packed.Text(script)
	policy := "default-src 'none'; script-src 'sha256-" + hash(js) + "'; style-src 'sha256-" + hash(css) + "'; img-src data:; base-uri 'none'; form-action 'none'"
	rest := packed.Text(page)
	for _, part := range [][2]string{{"{policy}", policy}, {"{style}", css}, {"{packed}", form}, {"{data}", text}, {"{script}", js}} {
		before, after, _ := strings.Cut(rest, part[0])
		for _, s := range []string{before, part[1]} {
			if _, err := io.WriteString(w, s); err != nil {
				return err
			}
		}
		rest = after
	}
	_, err = io.WriteString(w, rest)
	return err
}

// step is the first line of a result in the page. One for each image follows.
type step struct {
	Headline string `json:"headline"`
	// Help has the addresses of the pages about rules that are not met.
	Help   map[string]string `json:"help"`
	Result report.Result     `json:"result"`
}

// write writes the lines of a result. encoding/json escapes what could end the script
// element that they are in.
func write(w io.Writer, r report.Result) error {
	s := step{Headline: report.Headline(r), Help: map[string]string{}, Result: report.Complete(r)}
	help := func(rule string) {
		if url := manual.URL(rule); url != "" {
			s.Help[rule] = url
		}
	}
	for _, f := range r.Refusals {
		help(string(f.Rule))
	}
	for _, o := range r.Approval.Rules {
		if !o.Met {
			help(string(o.Rule))
		}
	}
	images := s.Result.Images
	s.Result.Images = []report.Image{}
	e := json.NewEncoder(w)
	if err := e.Encode(s); err != nil {
		return err
	}
	for i := range images {
		if err := e.Encode(&images[i]); err != nil {
			return err
		}
	}
	return nil
}

// lines collects the lines of results. Once they are too long, it compresses them.
type lines struct {
	plain, packed bytes.Buffer
	zip           *gzip.Writer
}

func (d *lines) Write(line []byte) (int, error) {
	// In JSON, number signs occur only in strings. Two could begin a logging command of
	// Azure Pipelines, wherever the page is printed.
	escaped := bytes.ReplaceAll(line, []byte("#"), []byte(`\u0023`))
	if d.zip == nil && d.plain.Len()+len(escaped) > longestPlain {
		d.zip = gzip.NewWriter(&d.packed)
		if _, err := d.plain.WriteTo(d.zip); err != nil {
			return 0, err
		}
	}
	var err error
	if d.zip != nil {
		_, err = d.zip.Write(escaped)
	} else {
		d.plain.Write(escaped)
	}
	return len(line), err
}

// text returns the text that the page has, and the attribute that reports whether it is
// compressed.
func (d *lines) text() (text, attribute string, err error) {
	if d.zip == nil {
		return d.plain.String(), "", nil
	}
	err = d.zip.Close()
	return base64.StdEncoding.EncodeToString(d.packed.Bytes()), " data-packed", err
}

// hash returns the hash by which a policy allows a text.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}
