package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"acrpromote/internal/sanitize"
)

// report is what a person sends.
type report struct {
	Schema   string   `json:"schema"`
	Tool     string   `json:"tool"`
	Platform string   `json:"platform"`
	Date     string   `json:"date"`
	Facts    []result `json:"facts"`
	Notes    []string `json:"notes"`
}

type result struct {
	ID       string `json:"id"`
	Question string `json:"question"`
	answer
	Meaning string `json:"meaning,omitempty"`
}

func (r *report) add(f fact, a answer) {
	meaning := ""
	switch a.Answer {
	case answerA:
		meaning = f.a
	case answerB:
		meaning = f.b
	}
	r.Facts = append(r.Facts, result{f.id, f.question, a, meaning})
}

// anonymize replaces names and secrets in everything that came from outside.
func (r *report) anonymize(p *pseudonyms) {
	r.Schema = "acrpromote/livecheck/v1"
	for i := range r.Facts {
		r.Facts[i].answer = p.answer(r.Facts[i].answer)
	}
	for i := range r.Notes {
		r.Notes[i] = p.text(r.Notes[i], longestText)
	}
}

func (r *report) json() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		panic(err) // only strings and numbers
	}
	return b.Bytes()
}

func (r *report) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Live check\n\n%s, %s, %s\n\n| fact | answer | meaning | status | detail |\n|---|---|---|---|---|\n", r.Tool, r.Platform, r.Date)
	counts := map[string]int{}
	for _, f := range r.Facts {
		counts[f.Answer]++
		status := ""
		if f.Status != 0 {
			status = strings.TrimSpace(fmt.Sprint(f.Status, " ", f.Code))
		}
		detail := strings.TrimSpace(f.Why + " " + f.Body)
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", f.ID, f.Answer, f.Meaning, cell(status), cell(detail))
	}
	fmt.Fprintf(&b, "\n%d facts: A %d, B %d, other %d, not checked %d.\n", len(r.Facts), counts[answerA], counts[answerB], counts[answerOther], counts[notChecked])
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "\nNote: %s.\n", n)
	}
	return b.Bytes()
}

// cell makes text fit for a cell of a table, in which it formats nothing.
func cell(text string) string {
	if text == "" {
		return ""
	}
	return "`" + strings.NewReplacer("|", "¦", "`", "'").Replace(text) + "`"
}

// longestText limits what the report shows of a response, in bytes.
const longestText = 400

// pseudonyms removes secrets from texts, and replaces names unless they are to stay.
type pseudonyms struct {
	secrets    *sanitize.Secrets
	keep       bool
	registries int
	known      []replacement
	ids        map[string]string
}

type replacement struct {
	name *regexp.Regexp
	by   string
}

func newPseudonyms(secrets *sanitize.Secrets, keep bool) *pseudonyms {
	return &pseudonyms{secrets: secrets, keep: keep, ids: map[string]string{}}
}

// registry makes a registry known by its host.
func (p *pseudonyms) registry(host string) {
	p.registries++
	name, _, _ := strings.Cut(host, ".")
	by := fmt.Sprintf("registry-%d", p.registries)
	for _, k := range p.known {
		if k.name.MatchString(name) {
			by = k.by // another name of the same registry
		}
	}
	p.replace(name, by)
}

// organization makes an organization or a server known by its URL, and a project.
func (p *pseudonyms) organization(collection, project string) {
	p.replace(project, "project-1")
	at, err := url.Parse(collection)
	if err != nil {
		return
	}
	for _, segment := range strings.Split(strings.Trim(at.Path, "/"), "/") {
		p.replace(segment, "organization-1")
	}
	switch host := strings.ToLower(at.Hostname()); {
	case host == "dev.azure.com":
	case strings.HasSuffix(host, ".visualstudio.com"):
		name, _, _ := strings.Cut(host, ".")
		p.replace(name, "organization-1")
	default:
		p.replace(host, "server-1")
	}
}

func (p *pseudonyms) replace(name, by string) {
	if name != "" {
		p.known = append(p.known, replacement{regexp.MustCompile(`(?i)(^|[^a-z0-9])` + regexp.QuoteMeta(name) + `($|[^a-z0-9])`), by})
	}
}

// What names people and things wherever it stands.
var patterns = []struct {
	kind string
	find *regexp.Regexp
}{
	{"token", regexp.MustCompile(`eyJ[A-Za-z0-9_-]{10,}(\.[A-Za-z0-9_-]*){0,2}`)},
	{"id", regexp.MustCompile(`(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`)},
	{"mail", regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}`)},
	{"address", regexp.MustCompile(`\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b`)},
	{"host", regexp.MustCompile(`(?i)\b[a-z0-9-]+(\.[a-z0-9-]+)*\.(azurecr\.(io|cn|us)|visualstudio\.com|blob\.core\.windows\.net)\b`)},
	{"user", regexp.MustCompile(`(?i)\b(?:user|identity|principal) '[^']+'`)},
}

// answer returns the answer without secrets and names, cut to what a report needs.
func (p *pseudonyms) answer(a answer) answer {
	a.Why, a.Body, a.Code = p.text(a.Why, longestText), p.text(a.Body, longestText), p.text(a.Code, 80)
	return a
}

// text returns one line of the text without secrets and names.
func (p *pseudonyms) text(text string, limit int) string {
	// Names are replaced before the text is cut: half a name is no name.
	text = p.secrets.Redact(text)
	text = p.pattern(0, text)
	if !p.keep {
		for _, k := range p.known {
			for k.name.MatchString(text) {
				replaced := k.name.ReplaceAllString(text, "${1}"+k.by+"${2}")
				if replaced == text {
					break
				}
				text = replaced
			}
		}
		for i := 1; i < len(patterns); i++ {
			text = p.pattern(i, text)
		}
	}
	return p.secrets.Bounded(text, limit)
}

// pattern replaces what a pattern finds; the same text by the same name.
func (p *pseudonyms) pattern(i int, text string) string {
	kind := patterns[i].kind
	return patterns[i].find.ReplaceAllStringFunc(text, func(found string) string {
		key := kind + " " + strings.ToLower(found)
		if kind == "host" && strings.HasPrefix(strings.ToLower(found), "registry-") {
			return found
		}
		if p.ids[key] == "" {
			n := 1
			for k := range p.ids {
				if strings.HasPrefix(k, kind+" ") {
					n++
				}
			}
			p.ids[key] = fmt.Sprintf("%s-%d", kind, n)
		}
		return p.ids[key]
	})
}
