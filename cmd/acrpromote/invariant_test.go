package main_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/report"
	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// The invariants of every run of the program, which are checked after each run of
// every test.

// sightings are the secrets that were sent to services.
type sightings struct {
	mu      sync.Mutex
	secrets map[string]string // what it is, by the secret itself
}

func (s *sightings) add(what, secret string) {
	if len(secret) < 8 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[secret] = what
}

// watch sees each request before its host does, and responds to none.
func (s *sightings) watch(_ http.ResponseWriter, r *http.Request) bool {
	if scheme, value, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok {
		s.add("a header's "+scheme+" credential", value)
		if raw, err := base64.StdEncoding.DecodeString(value); err == nil && scheme == "Basic" {
			_, password, _ := strings.Cut(string(raw), ":")
			s.add("a password", password)
		}
	}
	s.add("a signature", r.URL.Query().Get("sig"))
	if r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		form := *r
		form.Body, form.PostForm, form.Form = io.NopCloser(bytes.NewReader(body)), nil, nil
		if form.ParseForm() == nil {
			for _, name := range []string{"access_token", "refresh_token", "client_assertion", "client_secret", "password"} {
				s.add("a form's "+name, form.PostForm.Get(name))
			}
		}
	}
	return false
}

// ofEnvironment are the secrets that the agent passes to the task.
func (s *sightings) ofEnvironment(environ []string) {
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "SECRET_") || strings.HasPrefix(name, "ENDPOINT_AUTH_PARAMETER_") &&
			(strings.HasSuffix(name, "_ACCESSTOKEN") || strings.HasSuffix(name, "_SERVICEPRINCIPALKEY") || strings.HasSuffix(name, "_SERVICEPRINCIPALCERTIFICATE") || strings.HasSuffix(name, "_PASSWORD")) {
			s.add(name, value)
		}
	}
}

var looksLikeToken = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{16,}|[?&](sig|_state|access_token|token)=`)

// ownCommands are the logging commands that the program may write.
var ownCommands = []string{"task.complete", "task.setvariable", "task.logissue", "task.debug", "task.setprogress", "task.uploadsummary", "task.addattachment", "results.publish", "artifact.upload"}

// command is one logging command as parsed by the agent.
type command struct {
	fakeagent.Command
	whole bool // it begins its line
}

// agentReads returns the logging commands that the agent finds, and the ones that a
// person would see: for those, invisible characters are ignored.
func agentReads(output string) []command {
	var found []command
	for _, line := range fakeagent.Lines(output) {
		c, ok := fakeagent.ParseCommand(line)
		if !ok {
			c, ok = disguised(line)
		}
		if ok {
			found = append(found, command{c, strings.HasPrefix(line, "##vso[")})
		}
	}
	return found
}

// disguised returns texts that look like a command but are not one for the agent.
func disguised(line string) (fakeagent.Command, bool) {
	line = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Variation_Selector, r) || unicode.IsControl(r) {
			return -1
		}
		return r
	}, line)
	if c, ok := fakeagent.ParseCommand(line); ok {
		return c, true
	}
	_, rest, ok := strings.Cut(line, "##vso[")
	if !ok {
		_, rest, ok = strings.Cut(line, "##[")
	}
	head, data, closed := strings.Cut(rest, "]")
	return fakeagent.Command{Event: head, Data: data}, ok && closed
}

// read parses the commands in the output, and result.json.
func (o *outcome) read(inPipeline bool) {
	o.t.Helper()
	for _, c := range agentReads(o.stdout) {
		if !inPipeline || !c.whole || !slices.Contains(ownCommands, c.Name()) {
			o.t.Errorf("the agent would read a command that is not the program's: %s %v %q", c.Name(), c.Properties, c.Data)
			continue
		}
		if o.task != "" {
			o.t.Errorf("%s comes after task.complete", c.Name())
		}
		switch c.Name() {
		case "task.complete":
			o.task = c.Properties["result"]
		case "task.setvariable":
			if !slices.Contains([]string{"digest", "image", "changed", "plan", "report"}, c.Properties["variable"]) || c.Properties["isoutput"] != "true" {
				o.t.Errorf("the variable %v is not in the contract", c.Properties)
			}
			o.output[c.Properties["variable"]] = c.Data
		case "task.logissue":
			if c.Properties["type"] == "warning" {
				o.warnings = append(o.warnings, c.Data)
			} else {
				o.issues = append(o.issues, c.Data)
			}
		case "task.addattachment":
			a, err := c.Attachment()
			switch {
			case err == nil && a.Type == "acrpromote.seal" && len(a.Name) == 64:
				o.seals[a.Name] = a.Content
			case err == nil && a.Type == "acrpromote.plan" && a.Name == code(o.t, testimage.Digest([]byte(a.Content))):
				o.plans[a.Name] = a.Content
			case err == nil && a.Type == "acrpromote.report" && o.page.Name == "":
				o.page = a
			default:
				o.t.Errorf("an attachment that is not in the contract: %v %s: %v", c.Properties, c.Data, err)
			}
		case "results.publish":
			content, err := os.ReadFile(c.Properties["resultfiles"])
			if err != nil || c.Properties["type"] != "JUnit" {
				o.t.Errorf("test results: %v: %v", c.Properties, err)
			}
			o.tests = string(content)
		case "artifact.upload":
			a, err := c.Artifact(o.environ)
			if err != nil || o.artifact.Name != "" {
				o.t.Errorf("the agent fails the step: %v: %v", c.Properties, err)
			}
			o.artifact = a
		case "task.uploadsummary":
			content, err := os.ReadFile(c.Data)
			if err != nil {
				o.t.Errorf("the summary: %v", err)
			}
			o.summary = string(content)
		}
	}
	if commands := agentReads(o.stderr); len(commands) > 0 {
		o.t.Errorf("commands on standard error: %v", commands)
	}
	if path := o.output["report"]; path != "" {
		content, err := os.ReadFile(path)
		if err != nil {
			o.t.Errorf("the output report names %s: %v", path, err)
			return
		}
		o.result = parseResult(o.t, content)
	}
}

// parseResult parses one document and validates it against the schema that ships
// with the program.
func parseResult(t *testing.T, content []byte) map[string]any {
	t.Helper()
	var result, schema map[string]any
	if err := json.Unmarshal(content, &result); err != nil {
		t.Fatalf("result.json: %v\n%s", err, content)
	}
	if err := json.Unmarshal(report.SchemaJSON, &schema); err != nil {
		t.Fatal(err)
	}
	for _, problem := range violations(schema, schema, result, "") {
		t.Errorf("result.json against its schema: %s", problem)
	}
	return result
}

// violations validates a value with the part of JSON Schema that the shipped schema
// uses. An unknown keyword is a violation too.
func violations(root, schema map[string]any, value any, path string) (found []string) {
	bad := func(format string, args ...any) { found = append(found, path+": "+fmt.Sprintf(format, args...)) }
	object, isObject := value.(map[string]any)
	list, isList := value.([]any)
	for keyword, rule := range schema {
		switch keyword {
		case "$schema", "$id", "title", "description", "$defs":
		case "$ref":
			target := root
			for step := range strings.SplitSeq(strings.TrimPrefix(rule.(string), "#/"), "/") {
				target, _ = target[step].(map[string]any)
			}
			if target == nil {
				bad("%v leads nowhere", rule)
				continue
			}
			found = append(found, violations(root, target, value, path)...)
		case "type":
			n, isNumber := value.(float64)
			_, isText := value.(string)
			_, isBool := value.(bool)
			if ok := map[string]bool{"object": isObject, "array": isList, "string": isText, "boolean": isBool, "number": isNumber, "integer": isNumber && n == float64(int64(n))}[rule.(string)]; !ok {
				bad("%v is not %v", value, rule)
			}
		case "const":
			if value != rule {
				bad("%v is not %v", value, rule)
			}
		case "enum":
			if !slices.Contains(rule.([]any), value) {
				bad("%v is not one of %v", value, rule)
			}
		case "pattern":
			if text, ok := value.(string); ok && !regexp.MustCompile(rule.(string)).MatchString(text) {
				bad("%q does not match %v", text, rule)
			}
		case "minimum":
			if n, ok := value.(float64); ok && n < rule.(float64) {
				bad("%v is too small", n)
			}
		case "required":
			for _, name := range rule.([]any) {
				if _, ok := object[name.(string)]; isObject && !ok {
					bad("%v is missing", name)
				}
			}
		case "properties":
			for name, part := range rule.(map[string]any) {
				if v, ok := object[name]; ok {
					found = append(found, violations(root, part.(map[string]any), v, path+"/"+name)...)
				}
			}
		case "additionalProperties":
			known, _ := schema["properties"].(map[string]any)
			for name := range object {
				if _, ok := known[name]; !ok && rule == false {
					bad("%s is not known", name)
				}
			}
		case "items":
			for i, v := range list {
				found = append(found, violations(root, rule.(map[string]any), v, fmt.Sprintf("%s/%d", path, i))...)
			}
		default:
			bad("the keyword %s is not known to this test", keyword)
		}
	}
	return found
}

// hold checks all invariants of a run.
func (env *testEnv) hold(p *process, o *outcome) {
	env.t.Helper()
	if o.code < 0 {
		return // killed
	}
	if strings.Contains(o.stdout+o.stderr, "panic:") || strings.Contains(o.stderr, "DATA RACE") || strings.Contains(o.stderr, "goroutine ") {
		env.t.Fatalf("the program broke:\n%s\n%s", o.stdout, o.stderr)
	}
	if p.inPipeline() && (o.code != 0 || o.task == "" || o.result == nil || o.summary == "") {
		env.t.Fatalf("a task ends with the exit code 0, a result, a summary and result.json; exit code %d, task %q\n%s\n%s", o.code, o.task, o.stdout, o.stderr)
	}
	env.holdSecrets(p, o)
	if p.inPipeline() {
		env.holdPublished(p, o)
	}
	if o.result == nil {
		return
	}
	env.holdEgress(p, o)
	for _, list := range []string{"refusals", "errors"} {
		for _, e := range o.result[list].([]any) {
			for name, text := range e.(map[string]any) {
				if strings.TrimSpace(text.(string)) == "" {
					env.t.Errorf("an entry of %s has no %s: %v", list, name, e)
				}
			}
		}
	}
	outcome := o.result["outcome"]
	readOnly := o.result["dryRun"] == true || slices.Contains([]any{"plan", "verify", "audit", "verifyReceipt", "trace", "doctor"}, o.result["action"])
	if outcome == "refused" || outcome == "misuse" || readOnly {
		if written := writes(o.requests); len(written) > 0 {
			env.t.Errorf("%v (%v) has written: %v", o.result["action"], outcome, written)
		}
		if o.result["changed"] != false {
			env.t.Errorf("%v (%v) says that it changed something", o.result["action"], outcome)
		}
	}
	if !env.broken {
		for _, r := range []*sim.Registry{env.dev, env.dev2} {
			for _, repository := range []string{cart, "released/cart"} {
				for _, tag := range r.Tags(repository) {
					if missing := lacking(r, repository, tag); len(missing) > 0 {
						env.t.Errorf("%s/%s:%s is visible and lacks %v", r.Host(), repository, tag, missing)
					}
				}
			}
		}
	}
}

// holdSecrets fails the test if anything stored or shown contains a secret.
func (env *testEnv) holdSecrets(p *process, o *outcome) {
	env.t.Helper()
	document, _ := json.Marshal(o.result)
	places := map[string]string{"standard output": o.stdout, "standard error": o.stderr, "result.json": string(document), "the summary": o.summary, "the page": o.page.Content}
	env.seen.ofEnvironment(p.environ)
	env.seen.mu.Lock()
	secrets := maps.Clone(env.seen.secrets)
	env.seen.mu.Unlock()
	for place, text := range places {
		for secret, what := range secrets {
			// The beginning of a secret is too much already.
			if strings.Contains(text, secret[:min(len(secret), 12)]) {
				env.t.Errorf("%s shows %s", place, what)
			}
		}
		if found := looksLikeToken.FindString(text); found != "" {
			env.t.Errorf("%s shows what looks like a token: %.12s…", place, found)
		}
	}
}

// holdPublished checks what was published with the run: a page and, of actions that
// write or plan, the page and the result as an artifact.
func (env *testEnv) holdPublished(p *process, o *outcome) {
	env.t.Helper()
	wanted := strings.ToLower(strings.TrimSpace(valueOf(p.environ, "INPUT_PUBLISH")))
	if page := o.page.Name != ""; page != (wanted != "false") {
		env.t.Errorf("with publish %q, the page is attached: %v\n%s", wanted, page, o.stdout)
	}
	writing := slices.Contains([]string{"seal", "promote", "invertedPush", "plan", "recall"}, valueOf(p.environ, "INPUT_ACTION"))
	want := (wanted == "true" || writing && wanted != "false") && o.task != "Canceled" && valueOf(p.environ, "SYSTEM_HOSTTYPE") == "build"
	if published := o.artifact.Name != ""; published != want {
		env.t.Errorf("with publish %q, %v is published: %v\n%s", wanted, o.result["action"], published, o.stdout)
	}
	if o.artifact.Name == "" {
		return
	}
	result, err := os.ReadFile(o.output["report"])
	if err != nil || len(o.artifact.Files) != 2 || o.artifact.Files["report.html"] != o.page.Content || o.artifact.Files["result.json"] != string(result) || o.page.Name != o.artifact.Name {
		env.t.Errorf("the artifact %s has the files %v, and the page is %s: %v", o.artifact.Name, slices.Sorted(maps.Keys(o.artifact.Files)), o.page.Name, err)
	}
}

// holdEgress compares the hosts in result.json with the logs of the proxies.
func (env *testEnv) holdEgress(p *process, o *outcome) {
	env.t.Helper()
	var dialled, told []string
	for n, before := range p.dialled {
		dialled = append(dialled, n.Dialled()[before:]...)
	}
	for _, host := range o.result["egress"].([]any) {
		if host == sim.MetadataAddress {
			continue // never through a proxy; in its log it would be an error
		}
		told = append(told, host.(string))
	}
	slices.Sort(dialled)
	slices.Sort(told)
	dialled = slices.Compact(dialled)
	// A dial that was cancelled before it reached the proxy is in result.json but
	// not in the log. Every host in the log must be in result.json. Downloads are
	// cancelled if the target turns out to have the blob.
	told = slices.DeleteFunc(told, func(host string) bool {
		given := o.result["outcome"] == "cancelled" || strings.HasSuffix(host, ".blob.core.windows.net:443")
		return given && !slices.Contains(dialled, host)
	})
	if !slices.Equal(dialled, told) && o.result["proxy"] != "" && !env.shutOut {
		env.t.Errorf("egress %v, the proxy's log %v", told, dialled)
	}
}

// writes returns the requests that change something.
func writes(requests []sim.Request) []string {
	var list []string
	for _, r := range requests {
		registry := strings.HasPrefix(r.Path, "/v2/") || strings.HasPrefix(r.Path, "/acr/")
		if registry && r.Method != http.MethodGet && r.Method != http.MethodHead {
			list = append(list, r.Method+" "+r.Host+r.Path)
		}
	}
	return list
}

// lacking returns what a tag needs but the registry does not have: manifests, their
// children and blobs.
func lacking(r *sim.Registry, repository, reference string) []string {
	_, content, ok := r.Manifest(repository, reference)
	if !ok {
		return []string{reference}
	}
	var m testimage.Manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return []string{reference + " is not JSON"}
	}
	var missing []string
	for _, b := range m.Blobs() {
		if _, ok := r.Blob(repository, b.Digest); !ok {
			missing = append(missing, b.Digest)
		}
	}
	for _, child := range m.Manifests {
		missing = append(missing, lacking(r, repository, child.Digest)...)
	}
	return missing
}
