package main_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// It is an invariant of every run, with System.Debug on, that the output shows no
// secret and has no logging command except the program's own. The tests in this
// file try to break it.

const smuggled = "##vso[task.setvariable variable=digest]sha256:evil"

// smuggle has ways to inject a logging command.
var smuggle = []string{
	smuggled, "x\r" + smuggled, "x\n" + smuggled, "#\u200b#vso[task.complete result=Succeeded]", "##\u00advso[task.complete result=Succeeded;]done",
	"#\ufe0f#vso[task.complete result=Succeeded]", "\x1b]0;title\a" + smuggled, "%0D%0A" + smuggled, "##[error]boo", strings.Repeat("#", 9) + "vso[task.complete result=Succeeded;]",
}

// TestSmuggledComments injects commands in names and comments of approvers and in
// other texts of Azure DevOps.
func TestSmuggledComments(t *testing.T) {
	env := newTestEnv(t)
	env.sealed()
	evil := manager
	evil.DisplayName = "Release " + strings.Join(smuggle, " ")
	env.guard(sim.ApprovalSettings{Approvers: []sim.Identity{evil}})
	env.approve(evil, strings.Join(smuggle, " | "))
	o := env.task(push()).want("done")
	if o.output["digest"] == "sha256:evil" {
		t.Error("the output was set from outside")
	}
	if comment, _ := o.at("approval", "approvers", 0, "comment").(string); !strings.Contains(comment, "task.setvariable") {
		t.Errorf("result.json keeps what was written, as text: %q", comment)
	}
	for _, markup := range []string{"<script", "<img", "](http"} {
		if strings.Contains(o.summary, markup) {
			t.Errorf("the summary has %s", markup)
		}
	}
	env.queue()
	if err := env.stage.Reject(manager, "<img src=https://evil.example/x>[a](https://evil.example) "+smuggled); err != nil {
		t.Fatal(err)
	}
	env.stage.Begin()
	o = env.task(push()).refusedBy("approval-rejected")
	if strings.Contains(o.summary, "<img") || strings.Contains(o.summary, "](https") {
		t.Errorf("the summary carries markup:\n%s", o.summary)
	}
	env.run.MutateApprovals(func(d map[string]any) { d["value"].([]any)[0].(map[string]any)["status"] = smuggled })
	env.task(push()).refusedBy("approval-unreadable")
	env.run.MutateBuild(func(d map[string]any) { d["sourceBranch"] = "refs/heads/" + smuggled })
	env.task(push()).refusedBy("approval-unreadable")
}

// TestSmuggledResponses injects commands in bodies, headers and labels of a registry.
func TestSmuggledResponses(t *testing.T) {
	for i, text := range smuggle {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			env, image := ready(t)
			at := func(where string) (remove func()) {
				return env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
					if r.Host != where || !strings.HasPrefix(r.URL.Path, "/v2/") || r.Method == http.MethodHead {
						return false
					}
					rw.Header().Set("Content-Type", "application/json")
					rw.Header().Set("Location", "https://"+where+"/"+strings.NewReplacer("\r", "", "\n", "").Replace(text))
					rw.WriteHeader(http.StatusForbidden)
					_ = json.NewEncoder(rw).Encode(map[string]any{"errors": []any{map[string]string{"code": "DENIED" + text, "message": "client with IP '" + text + "' is not allowed access"}}})
					return true
				})
			}
			remove := at(devHost)
			env.task(push()).failsAt("target", devHost)
			remove()
			remove = at(prodHost)
			env.task(push()).failsAt("source", prodHost)
			remove()
			// Annotations and artifact types are external text too.
			testimage.Attach(env.prod, cart, image, "application/x"+text, []byte("{}"))
			env.task(push())
			env.task(push("action", "audit"))
		})
	}
}

// TestSmuggledInputs injects commands in inputs.
func TestSmuggledInputs(t *testing.T) {
	env, _ := ready(t)
	for _, text := range smuggle {
		// Misuse is reported all at once; the rest is in the refusals.
		wrong := push("action", "verify", "source", prodHost+"/"+cart+":"+text, "targets", text, "commentPattern", "("+text, "minApprovers", text, "digest", text, "lock", text)
		env.task(wrong).want("misuse")
		o := env.task(push("action", "verify", "environment", text, "approvers", text))
		if o.output["digest"] == "sha256:evil" || o.result["outcome"] == "done" {
			t.Errorf("outcome %v, outputs %v", o.result["outcome"], o.output)
		}
	}
	env.task(push("approvalStage", smuggled)).want("misuse")
	env.task(push("action", "verify", "reportFolder", env.folder()+"/"+smuggled)).want("done")
}

// TestEchoedSecrets tests services that repeat the secrets of a request.
func TestEchoedSecrets(t *testing.T) {
	env, _ := ready(t)
	docker := env.project.DockerConnection("dev-token", devHost, "pusher", "a-docker-password~1")
	secret := env.project.SecretConnection("release-secret", tenant, clientID, clientKey)
	for i, status := range []int{http.StatusForbidden, http.StatusUnauthorized, http.StatusBadRequest, http.StatusInternalServerError} {
		// A long response is not cut in the middle of a secret.
		padding := strings.Repeat("x", 90*i)
		remove := env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
			if r.Host != devHost && r.Host != entraHost || r.Host == entraHost && r.Method != http.MethodPost {
				return false
			}
			_ = r.ParseForm()
			said := fmt.Sprintf("%sno: %s %v %s", padding, r.Header.Get("Authorization"), r.PostForm, r.URL.RawQuery)
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(status)
			_ = json.NewEncoder(rw).Encode(map[string]any{"errors": []any{map[string]string{"code": "DENIED", "message": said}}, "error": "invalid_client", "error_description": "AADSTS7000215: " + said})
			return true
		})
		env.task(push(), connected("registryConnections", docker)).want("failed")
		env.task(push(), connected("azureSubscription", secret)).want("failed")
		env.task(push()).want("failed")
		remove()
	}
}

// TestEchoedTokens tests registries that repeat the token of a request.
func TestEchoedTokens(t *testing.T) {
	env, _ := ready(t)
	var padding atomic.Int64
	echo := func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(http.StatusForbidden)
		said := strings.Repeat("x", int(padding.Load())) + " " + r.Header.Get("Authorization") + " " + r.URL.RawQuery
		_ = json.NewEncoder(rw).Encode(map[string]any{"errors": []any{map[string]string{"code": "DENIED", "message": said}}})
	}
	env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Host != devHost || strings.HasPrefix(r.URL.Path, "/oauth2/") {
			return false
		}
		echo(rw, r)
		return true
	})
	env.cloud.Handle("registry.example", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			rw.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		echo(rw, r)
	}))
	other := env.project.DockerConnection("other", "registry.example", "pusher", "another-password~2")
	for _, length := range []int64{0, 260, 290} {
		padding.Store(length)
		env.task(push()).failsAt("target", devHost)
		env.task(push("targets", "registry.example"), connected("registryConnections", other)).failsAt("target", "registry.example")
	}
}

// echoEverywhere answers with all that it was sent, and with secrets that it was
// not sent, in every field that a client may show: status, headers, and body, in
// several encodings.
func echoEverywhere(rw http.ResponseWriter, r *http.Request, status, padding int, more ...string) {
	body, _ := io.ReadAll(r.Body)
	header := r.Header.Get("Authorization")
	_, value, _ := strings.Cut(header, " ")
	login, _ := base64.StdEncoding.DecodeString(value)
	sent := append([]string{header, value, string(login), string(body), r.URL.RawQuery}, more...)
	said := strings.Repeat("x", padding)
	for _, text := range sent {
		if text != "" {
			said += fmt.Sprintf(" %s %s %s %x %q", text, base64.StdEncoding.EncodeToString([]byte(text)), url.QueryEscape(text), text, text)
		}
	}
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, said)
	if len(clean) > 8000 {
		clean = clean[:8000]
	}
	for _, name := range []string{"WWW-Authenticate", "Location", "Retry-After", "Warning", "Docker-Content-Digest", "Link", "Range"} {
		rw.Header().Set(name, clean)
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(map[string]any{
		"errors": []any{map[string]any{"code": said, "message": said, "detail": said}},
		"error":  said, "error_description": "AADSTS7000215: " + said, "message": said, "typeKey": said, "$id": said,
	})
}

// TestSecretsEchoedEverywhere checks that no output shows a secret of the run,
// whichever service returns it in whichever field, even a secret sent to another
// service.
func TestSecretsEchoedEverywhere(t *testing.T) {
	const password = "A docker+password/~1&<2>"
	for _, c := range []struct {
		name           string
		host           string
		path           string
		docker, secret bool
	}{
		{"target", devHost, "/v2/", false, false},
		{"target's token", devHost, "/oauth2/", false, false},
		{"target with a password", devHost, "/", true, false},
		{"source", prodHost, "/v2/", false, false},
		{"source's attributes", prodHost, "/acr/", false, false},
		{"source's storage", prodStorage, "/", false, false},
		{"Entra with a secret", entraHost, "/", false, true},
		{"Entra with an assertion", entraHost, "/", false, false},
		{"Azure DevOps", devOpsHost, "/", false, false},
		{"Azure DevOps' tokens", devOpsHost, "/oidctoken", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, _ := ready(t)
			env.broken = true
			docker := env.project.DockerConnection("dev-token", devHost, "pusher", password)
			secret := env.project.SecretConnection("release-secret", tenant, clientID, clientKey)
			changes := []func(*fakeagent.Environment){}
			if c.docker {
				changes = append(changes, connected("registryConnections", docker))
			}
			if c.secret {
				changes = append(changes, connected("azureSubscription", secret))
			}
			environ := env.environ(env.stage, push(), changes...)
			var more []string
			for _, pair := range environ {
				name, value, _ := strings.Cut(pair, "=")
				if strings.HasPrefix(name, "ENDPOINT_AUTH_PARAMETER_") && (strings.HasSuffix(name, "_ACCESSTOKEN") || strings.HasSuffix(name, "_PASSWORD") || strings.HasSuffix(name, "_SERVICEPRINCIPALKEY")) {
					more = append(more, value)
				}
			}
			if len(more) == 0 {
				t.Fatal("the agent gave no secret")
			}
			var echoed atomic.Int64
			for _, status := range []int{http.StatusForbidden, http.StatusTemporaryRedirect} {
				padding := 0
				if status == http.StatusTemporaryRedirect {
					padding = 280
				}
				remove := env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
					if r.Host != c.host || !strings.Contains(strings.ToLower(r.URL.Path), c.path) {
						return false
					}
					echoed.Add(1)
					echoEverywhere(rw, r, status, padding, more...)
					return true
				})
				o := env.execute(environ)
				if o.result["outcome"] == "misuse" {
					t.Errorf("status %d: misuse\n%s", status, o.stdout)
				}
				document, _ := json.Marshal(o.result)
				for _, value := range more {
					for _, written := range []string{value, url.QueryEscape(value), base64.StdEncoding.EncodeToString([]byte(value)), fmt.Sprintf("%x", value)} {
						for place, text := range map[string]string{"the log": o.stdout, "standard error": o.stderr, "the summary": o.summary, "result.json": string(document)} {
							if strings.Contains(text, written[:12]) {
								t.Errorf("status %d: %s shows %.12s…", status, place, written)
							}
						}
					}
				}
				remove()
			}
			if echoed.Load() == 0 {
				t.Error("nothing was echoed")
			}
		})
	}
}

// written returns how servers and libraries write a value that they were sent, by the
// name of the encoding.
func written(value string) map[string]string {
	each := func(format string) string {
		var b strings.Builder
		for _, c := range []byte(value) {
			fmt.Fprintf(&b, format, c)
		}
		return b.String()
	}
	std, raw := base64.StdEncoding, base64.RawURLEncoding
	return map[string]string{
		"as it is": value, "quoted": fmt.Sprintf("%q", value), "percent": url.QueryEscape(value), "path": url.PathEscape(value), "percent, twice": url.QueryEscape(url.QueryEscape(value)),
		"every character in percent": each("%%%02X"), "every character in percent, lower case": each("%%%02x"), "every character in percent, twice": url.QueryEscape(each("%%%02X")),
		"Base64": std.EncodeToString([]byte(value)), "Base64 for URLs": raw.EncodeToString([]byte(value)), "Base64, twice": std.EncodeToString([]byte(std.EncodeToString([]byte(value)))),
		"Base64 of an empty user": std.EncodeToString([]byte(":" + value)), "Base64 of a user": std.EncodeToString([]byte("me:" + value)), "Base64 of a line": std.EncodeToString([]byte(value + "\n")),
		"hexadecimal": each("%02x"), "hexadecimal, upper case": each("%02X"), "bytes in hexadecimal": fmt.Sprintf("% x", value), "bytes in upper case": each("%02X:"), "a list of bytes": fmt.Sprint([]byte(value)), "escaped bytes": each(`\x%02x`),
		"JSON escapes": each(`\u%04x`), "JSON escapes, upper case": each(`\u%04X`), "entities": each("&#%d;"), "hexadecimal entities": each("&#x%x;"), "HTML": html.EscapeString(value),
	}
}

// wantHidden fails the test if an output shows a value in one of its encodings.
func (o outcome) wantHidden(value string) {
	o.t.Helper()
	document, _ := json.Marshal(o.result)
	for name, form := range written(value) {
		if len(form) < 12 {
			o.t.Fatalf("%q is too short to be found", form)
		}
		for place, text := range map[string]string{"the log": o.stdout, "standard error": o.stderr, "the summary": o.summary, "result.json": string(document)} {
			// The beginning is too much already.
			if beginning := form[:max(12, len(form)/3)]; strings.Contains(text, beginning) {
				o.t.Errorf("%s shows a secret (%s): %s…", place, name, beginning)
			}
		}
	}
}

// TestProxyEchoesPassword tests proxies that repeat the user and the password that
// they were sent.
func TestProxyEchoesPassword(t *testing.T) {
	const password = "A proxy+password/~3&<4>"
	var sent atomic.Value
	sent.Store("")
	all := func() string {
		var b strings.Builder
		header := sent.Load().(string)
		for _, value := range []string{password, "agent:" + password, header, strings.TrimPrefix(header, "Basic ")} {
			for _, form := range written(value) {
				b.WriteString(strings.NewReplacer("\n", "", "\r", "").Replace(form) + " ")
			}
		}
		return b.String()
	}
	page := func(status int) func(http.ResponseWriter) {
		return func(rw http.ResponseWriter) {
			for _, name := range []string{"Proxy-Authenticate", "Proxy-Authorization", "Location", "Warning", "Via"} {
				rw.Header().Set(name, all())
			}
			rw.Header().Set("Content-Type", "text/html")
			rw.WriteHeader(status)
			_, _ = io.WriteString(rw, "<html><body>You sent "+all()+"</body></html>")
		}
	}
	// raw answers with bytes that are not always HTTP.
	raw := func(before, after string) func(http.ResponseWriter) {
		return func(rw http.ResponseWriter) {
			connection, _, err := http.NewResponseController(rw).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(connection, before+all()+after)
			connection.Close()
		}
	}
	for name, answer := range map[string]func(http.ResponseWriter){
		"407":                   page(http.StatusProxyAuthRequired),
		"502":                   page(http.StatusBadGateway),
		"302":                   page(http.StatusFound),
		"status line":           raw("HTTP/1.1 502 ", "\r\n\r\n"),
		"not HTTP":              raw("", "\r\n\r\n"),
		"no status":             raw("HTTP/1.1 ", "\r\n\r\n"),
		"malformed header":      raw("HTTP/1.1 200 OK\r\n", "\r\n\r\n"),
		"malformed header name": raw("HTTP/1.1 200 OK\r\n ", ": x\r\n\r\n"),
		"length":                raw("HTTP/1.1 502 x\r\nContent-Length: ", "\r\n\r\n"),
		"transfer encoding":     raw("HTTP/1.1 502 x\r\nTransfer-Encoding: ", "\r\n\r\n"),
		"no TLS":                raw("HTTP/1.1 200 OK\r\n\r\n", ""),
	} {
		t.Run(name, func(t *testing.T) {
			env, _ := ready(t)
			env.shutOut = true
			var answered atomic.Int64
			env.prodNetwork.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
				answered.Add(1)
				sent.Store(r.Header.Get("Proxy-Authorization"))
				answer(rw)
				return true
			})
			o := env.task(push(), func(e *fakeagent.Environment) { e.Proxy.Username, e.Proxy.Password = "agent", password })
			if o.result["outcome"] == "done" || answered.Load() == 0 {
				t.Errorf("outcome %v, %d answers", o.result["outcome"], answered.Load())
			}
			for _, value := range []string{password, "agent:" + password, "Basic " + base64.StdEncoding.EncodeToString([]byte("agent:"+password))} {
				o.wantHidden(value)
			}
		})
	}
}

// TestAzureDevOpsEchoesToken tests an Azure DevOps that repeats the job's token in its
// errors, in every encoding.
func TestAzureDevOpsEchoesToken(t *testing.T) {
	for _, status := range []int{http.StatusForbidden, http.StatusUnauthorized} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			env, _ := ready(t)
			environ := env.environ(env.stage, push())
			token := valueOf(environ, "ENDPOINT_AUTH_PARAMETER_SYSTEMVSSCONNECTION_ACCESSTOKEN")
			shown := 0
			for name, form := range written(token) {
				remove := env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
					if r.Host != devOpsHost || strings.Contains(r.URL.Path, "oidctoken") {
						return false
					}
					rw.Header().Set("Content-Type", "application/json")
					rw.Header().Set("X-TFS-ServiceError", form)
					rw.WriteHeader(status)
					_ = json.NewEncoder(rw).Encode(map[string]any{"$id": "1", "message": "TF400813: not authorized: " + form + " is not it", "typeKey": form})
					return true
				})
				o := env.execute(environ)
				remove()
				if o.result["outcome"] == "done" {
					t.Errorf("%s: done", name)
				}
				o.wantHidden(token)
				if strings.Contains(o.stdout, "TF400813") {
					shown++
				}
			}
			if shown == 0 {
				t.Error("no error of the server is shown, so that this tests nothing")
			}
		})
	}
}

// TestDebug checks that debug output has each request with only method, host, path,
// status and time.
func TestDebug(t *testing.T) {
	env, _ := ready(t)
	o := env.task(push()).want("done")
	told := 0
	for _, c := range agentReads(o.stdout) {
		if c.Name() != "task.debug" {
			continue
		}
		told++
		if strings.ContainsAny(c.Data, "?") {
			t.Errorf("a query is logged: %s", c.Data)
		}
	}
	if told < len(o.requests) {
		t.Errorf("%d of %d requests are logged", told, len(o.requests))
	}
	for _, want := range []string{"GET " + prodHost, "PUT " + devHost, "GET " + prodStorage, "POST " + entraHost} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("%q is not logged", want)
		}
	}
	quiet := env.task(push(), func(e *fakeagent.Environment) { e.Debug = false }).want("done")
	if strings.Contains(quiet.stdout, "task.debug") {
		t.Error("debug lines without System.Debug")
	}
}

// TestOutputVariables checks that only the four outputs are set, for every outcome.
func TestOutputVariables(t *testing.T) {
	env, image := ready(t)
	o := env.task(push()).want("done")
	if o.output["image"] != prodHost+"/"+cart+"@"+image.Digest || o.output["digest"] != image.Digest || o.output["changed"] != "true" || o.output["report"] == "" || len(o.output) != 4 {
		t.Errorf("outputs %v", o.output)
	}
	refused := env.task(push("minApprovers", "2")).want("refused")
	if refused.output["changed"] != "false" || refused.output["digest"] != image.Digest || refused.output["report"] == "" {
		t.Errorf("outputs of a refusal %v", refused.output)
	}
	folder := env.folder() + "/deep/er"
	elsewhere := env.task(push("reportFolder", folder)).want("done")
	if !strings.HasPrefix(elsewhere.output["report"], folder) {
		t.Errorf("report %s, want it in %s", elsewhere.output["report"], folder)
	}
}
