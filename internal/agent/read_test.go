package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

const pipelineInputs = "INPUT_ACTION=invertedPush\nINPUT_SOURCE=prod.azurecr.io/shop/cart:1.4.2\nINPUT_TARGETS=dev.azurecr.io"

func pipeline(more ...string) []string {
	return append(strings.Split(pipelineInputs, "\n"), more...)
}

// problemsOf reads the configuration and returns the problems, each as "subject:
// reason. remedy".
func problemsOf(t *testing.T, args, env []string) (*Config, []string) {
	t.Helper()
	c, err := Read(args, env)
	if c == nil {
		t.Fatal("no configuration")
	}
	if err == nil {
		return c, nil
	}
	var m *UsageError
	if !errors.As(err, &m) || len(m.Problems) == 0 {
		t.Fatalf("%T: %v", err, err)
	}
	var problems []string
	for _, p := range m.Problems {
		if p.Reason == "" || strings.HasSuffix(p.Reason, ".") {
			t.Errorf("not a clause: %q", p.Reason)
		}
		if p.Remedy != "" && !strings.ContainsAny(p.Remedy[len(p.Remedy)-1:], ".?") {
			t.Errorf("not a sentence: %q", p.Remedy)
		}
		problems = append(problems, p.Subject+": "+p.Reason+". "+p.Remedy)
	}
	return c, problems
}

func mustRead(t *testing.T, args, env []string) *Config {
	t.Helper()
	c, problems := problemsOf(t, args, env)
	if problems != nil {
		t.Fatalf("usage error: %q", problems)
	}
	return c
}

func TestEveryInputHasAField(t *testing.T) {
	// One field for each input, with the same name and with the key of the table.
	fields := reflect.TypeFor[Config]()
	for _, in := range Inputs {
		found := false
		for _, f := range reflect.VisibleFields(fields) {
			if f.Tag.Get("env") == in.flagKey() {
				found = strings.EqualFold(f.Name, strings.ReplaceAll(in.Name, "-", ""))
			}
		}
		if !found {
			t.Errorf("%s has no field of that name with key %s", in.Name, in.flagKey())
		}
		if in.Help == "" || len(in.Actions) == 0 {
			t.Errorf("%s has no help or no action", in.Name)
		}
		if in.Default != "" && checkValue(in, in.Default) != nil {
			t.Errorf("%s: default %s is invalid", in.Name, in.Default)
		}
	}
}

func TestFlagsAndEnvironmentAgree(t *testing.T) {
	values := map[string]string{
		"source": "prod.azurecr.io/a:1", "targets": "dev.azurecr.io, two.azurecr.io/b\nthree.azurecr.io/c:2",
		"environment": " Production ", "approvalStage": "Approve", "approval": "any", "minApprovers": "2",
		"requesterCanApprove": "TRUE", "authorCanApprove": "False", "approvers": "lead@example.com\n\n [Shop]\\Release \n",
		"approvalMaxAge": "3d", "commentPattern": `CHG-\d+`, "approvalCode": "true", "sealed": "true",
		"digest": "sha256:" + strings.Repeat("0a", 32), "lock": "image", "referrers": "false", "deep": "true",
		"onPartial": "warn", "dryRun": "true", "reportFolder": "/tmp/report",
	}
	args := []string{"invertedPush"}
	env := []string{"INPUT_ACTION=invertedPush"}
	for name, value := range values {
		in, ok := inputNamed(name)
		if !ok {
			t.Fatalf("no input %s", name)
		}
		args = append(args, "--"+name, value)
		env = append(env, in.Key()+"="+value)
	}
	byFlag, byEnv := mustRead(t, args, nil), mustRead(t, nil, env)
	if !byEnv.InPipeline || !byEnv.InRun || byFlag.InPipeline || byFlag.InRun {
		t.Error("pipeline and prompt are confused")
	}
	for _, c := range []*Config{byFlag, byEnv} {
		switch {
		case c.Action != InvertedPush, c.Source != "prod.azurecr.io/a:1",
			!slices.Equal(c.Targets, []string{"dev.azurecr.io", "two.azurecr.io/b", "three.azurecr.io/c:2"}),
			c.Environment != "Production", c.ApprovalStage != "Approve", c.MinApprovers.Or(1) != 2,
			!c.RequesterCanApprove.Value, c.AuthorCanApprove.Or(true),
			!slices.Equal(c.Approvers, []string{"lead@example.com", `[Shop]\Release`}),
			c.ApprovalMaxAge.Value != 72*time.Hour, !c.CommentPattern.MatchString("see CHG-12"),
			c.ApprovalCode != CodeKind{true, "image"}, !c.Sealed.Value, c.Lock != "image", c.Referrers.Or(true), !c.Deep.Value,
			c.OnPartial != "warn", !c.ReadOnly(), c.ReportPath() != "/tmp/report", c.Approval != "any", c.Unapproved():
			t.Errorf("wrong configuration: %+v", c)
		}
	}
}

// TestApprovalCodeValues checks the values of an input that is a choice and a switch.
func TestApprovalCodeValues(t *testing.T) {
	for value, want := range map[string]CodeKind{
		"": {}, "true": {true, "image"}, "True": {true, "image"}, "image": {true, "image"}, "plan": {true, "plan"}, "false": {true, ""}, "FALSE": {true, ""},
	} {
		if c := mustRead(t, nil, pipeline("INPUT_APPROVALCODE="+value)); c.ApprovalCode != want {
			t.Errorf("%q is read as %+v", value, c.ApprovalCode)
		}
	}
	for _, c := range []struct {
		args string
		want CodeKind
	}{
		{"--approvalCode", CodeKind{true, "image"}}, {"--approvalCode --environment Production", CodeKind{true, "image"}}, {"--approvalCode=plan", CodeKind{true, "plan"}},
		{"--approvalCode plan --environment Production", CodeKind{true, "plan"}}, {"--approvalCode false", CodeKind{true, ""}},
	} {
		args := append([]string{"invertedPush", "--source", "prod.azurecr.io/a:1", "--targets", "dev.azurecr.io"}, strings.Fields(c.args)...)
		if got := mustRead(t, args, nil); got.ApprovalCode != c.want {
			t.Errorf("%s is read as %+v", c.args, got.ApprovalCode)
		}
	}
	for _, value := range []string{"Plan", "images", "yes", "plan image"} {
		if _, err := Read(nil, pipeline("INPUT_APPROVALCODE="+value)); err == nil || !strings.Contains(err.Error(), "is not one of true, image, plan, false") {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	c := mustRead(t, nil, pipeline("INPUT_LOCK=", "INPUT_MINAPPROVERS= ", "AGENT_TEMPDIRECTORY=/agent/_temp", "SYSTEM_DEBUG=True"))
	if c.MinApprovers.Or(1) != 1 || c.RequesterCanApprove.Or(false) || !c.AuthorCanApprove.Or(true) || !c.Referrers.Or(true) ||
		c.Lock != "" || c.Sealed.Given || c.Approval != "" || c.Unapproved() || c.OnPartial != "" || c.ReadOnly() || c.JSON() ||
		c.CommentPattern.Regexp != nil || c.ApprovalMaxAge.Given || c.EnvironmentProxy || !c.Debug || c.ReportPath() != "/agent/_temp" {
		t.Errorf("%+v", c)
	}
	c = mustRead(t, []string{"seal", "--source", "a/b:1"}, nil)
	if c.Lock != "" || c.Unapproved() || c.ReportPath() != "" || !c.EnvironmentProxy {
		t.Errorf("seal: %+v", c)
	}
}

func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		name  string
		args  string
		check func(*Config) bool
	}{
		{"value after =", "promote --source=a/b:1 --targets=a/b:2 --dryRun", func(c *Config) bool { return c.DryRun.Value && c.Source == "a/b:1" }},
		{"boolean false", "promote --source=a/b:1 --targets=a/b:2 --dryRun=false", func(c *Config) bool { return c.DryRun.Given && !c.DryRun.Value }},
		{"boolean with a separate value", "promote --dryRun FALSE --source=a/b:1 --targets=a/b:2", func(c *Config) bool { return c.DryRun.Given && !c.DryRun.Value }},
		{"repeated list", "audit --source a/b:1 --targets x --targets y,z", func(c *Config) bool { return slices.Equal(c.Targets, []string{"x", "y", "z"}) }},
		{"plain HTTP", "audit --source a/b:1 --targets x --plain-http h:5000 --plain-http i", func(c *Config) bool { return slices.Equal(c.PlainHTTP, []string{"h:5000", "i"}) }},
		{"a whole flow", "audit --flowFile f --flow released --receiptKeys key.pem", func(c *Config) bool { return c.WholeFlow() && len(c.Warnings) == 0 }},
		{"a set of a flow", "audit --flowFile f --flow released --images a:1", func(c *Config) bool { return !c.WholeFlow() }},
		{"an image of a flow", "audit --flowFile f --flow released --source a/b:1", func(c *Config) bool { return !c.WholeFlow() }},
		{"json", "audit --source a/b:1 --targets x --output json", func(c *Config) bool { return c.JSON() }},
		{"action as a flag", "--action audit --source a/b:1 --targets x", func(c *Config) bool { return c.Action == Audit }},
		{"help", "help", func(c *Config) bool { return c.Action == Help && c.HelpTopic == "" }},
		{"help on", "help seal", func(c *Config) bool { return c.Action == Help && c.HelpTopic == Seal }},
		{"help on an action of the prompt", "help init", func(c *Config) bool { return c.Action == Help && c.HelpTopic == Init }},
		{"help on a rule", "help approval-unbound", func(c *Config) bool { return c.HelpTopic == "approval-unbound" }},
		{"help flag after an argument", "check flows.yml --help", func(c *Config) bool { return c.Action == Help && c.HelpTopic == Check }},
		{"help flag of completion", "completion --help", func(c *Config) bool { return c.HelpTopic == Completion }},
		{"completion", "completion zsh", func(c *Config) bool { return c.IsHelp() && c.Shell == "zsh" }},
		{"file of check", "check flows.yml", func(c *Config) bool { return c.Action == Check && c.FlowFile == "flows.yml" }},
		{"file of check after a flag", "check --output json flows.yml", func(c *Config) bool { return c.JSON() && c.FlowFile == "flows.yml" }},
		{"file of check, also as a flag", "check --flowFile flows.yml flows.yml", func(c *Config) bool { return c.FlowFile == "flows.yml" }},
		{"files of report", "report a.json --junit b.json", func(c *Config) bool { return c.JUnit.Value && slices.Equal(c.Operands, []string{"a.json", "b.json"}) }},
		{"files of report after a value", "report --json=true a.json --sarif false", func(c *Config) bool {
			return c.Formats.JSON.Value && !c.JSON() && !c.SARIF.Value && len(c.Operands) == 1
		}},
		{"help flag of an action of the prompt", "check --help", func(c *Config) bool { return c.Action == Help && c.HelpTopic == Check }},
		{"lists of init with commas", "init --production p.azurecr.io --development a.azurecr.io,b.azurecr.io --movingTags test,stage --movingTags production --repositories shop/*,base/**", func(c *Config) bool {
			return slices.Equal(c.Development, []string{"a.azurecr.io", "b.azurecr.io"}) && slices.Equal(c.MovingTags, []string{"test", "stage", "production"}) && slices.Equal(c.Repositories, []string{"shop/*", "base/**"})
		}},
		{"help flag", "promote --help", func(c *Config) bool { return c.Action == Help && c.HelpTopic == Promote }},
		{"help flag without an action", "--help", func(c *Config) bool { return c.IsHelp() }},
		{"version", "--version", func(c *Config) bool { return c.Action == Version }},
		{"unapproved", "invertedPush --source a/b:1 --targets x --approval none", func(c *Config) bool { return c.Unapproved() }},
		{"empty is not given", "promote --source a/b:1 --targets a --environment= --lock=", func(c *Config) bool { return c.Lock == "" && c.Environment == "" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			if c := mustRead(t, strings.Fields(test.args), nil); !test.check(c) {
				t.Errorf("%+v", c)
			}
		})
	}
	c := mustRead(t, []string{"promote", "--targets", "a", "--environment", ""}, []string{"INPUT_SOURCE=a/b:1", "INPUT_TARGETS=env", "INPUT_ENVIRONMENT=Production"})
	if !slices.Equal(c.Targets, []string{"a"}) || c.Environment != "Production" || c.Source != "a/b:1" {
		t.Errorf("flags do not take precedence, or empty ones do: %+v", c)
	}
}

func TestMisuse(t *testing.T) {
	prompt := "invertedPush --source a/b:1 --targets x "
	for _, test := range []struct {
		name string
		args string
		env  []string
		want []string // a part of each problem, in order
	}{
		{"nothing", "", nil, []string{"action: no action"}},
		{"unknown action", "invertedpush --source a/b:1", nil, []string{"Did you mean invertedPush?"}},
		{"report without a file", "report --junit", nil, []string{"report: report requires a file"}},
		{"report in two formats", "report a.json --junit --sarif", nil, []string{"report: more than one format is named"}},
		{"unknown flag", prompt + "--minAprovers 2", nil, []string{"Did you mean --minApprovers?"}},
		{"wrong case", prompt + "--dryrun", nil, []string{"Did you mean --dryRun?"}},
		{"stray argument", prompt + "more", nil, []string{`unexpected argument "more"`}},
		{"no value", "invertedPush --targets x --source", nil, []string{"--source requires a value"}},
		{"a flag for a value", "invertedPush --targets x --source --dryRun", nil, []string{"--source requires a value"}},
		{"twice", prompt + "--source c/d:1", nil, []string{"flag --source is given twice"}},
		{"no source", "seal", nil, []string{"seal requires a source"}},
		{"an audit of a flow file", "audit --flowFile f", nil, []string{"To audit a whole flow, set only flowFile and flow."}},
		{"an audit of a flow without a file", "audit --flow released", nil, []string{"flow requires flowFile", "To audit a whole flow, set only flowFile and flow.", "audit requires at least one target"}},
		{"a trace of nothing", "trace", nil, []string{"To trace all that a run released, set run and targets instead."}},
		{"an audit of a flow at one target", "audit --flowFile f --flow released --targets x", nil, []string{"audit requires a source"}},
		{"an audit of a flow by digest", "audit --flowFile f --flow released --digest sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", nil, []string{"audit requires a source"}},
		{"a plan of a whole flow", "plan --flowFile f --flow released", nil, []string{"plan requires a source"}},
		{"no targets", "audit --source a/b:1", nil, []string{"audit requires at least one target"}},
		{"everything at once", "promote --minApprovers 0 --dryRun=maybe --lock=all --approvalMaxAge=0s --commentPattern=( --digest=sha256:1 --frob x", nil, []string{
			"--frob", "--minApprovers: \"0\" is not a positive integer", "--approvalMaxAge: \"0s\" is not a positive duration", "--commentPattern: \"(\" is not a valid RE2 regular expression", "--digest: \"sha256:1\"", "--lock: \"all\" is not one of none, tag, image",
			"--dryRun: \"maybe\" is neither", "promote requires a source", "promote requires at least one target"}},
		{"set and one image", prompt + "--flowFile f --flow x --images a:*", nil, []string{"source cannot be combined", "targets cannot be combined"}},
		{"two sets", "invertedPush --flowFile f --flow x --images a:* --imagesFrom l", nil, []string{"images and imagesFrom cannot be combined"}},
		{"set without a flow", "invertedPush --images a:*", nil, []string{"require flowFile and flow"}},
		{"flow without a file", prompt + "--flow x", nil, []string{"flow requires flowFile"}},
		{"check without a file", "check", nil, []string{"check requires a flow file. Run acrpromote check FILE."}},
		{"check without a file in a pipeline", "", []string{"INPUT_ACTION=check"}, []string{"Set flowFile to the path"}},
		{"check of two files", "check a.yml b.yml", nil, []string{`unexpected argument "b.yml"`}},
		{"check of two files, one as a flag", "check a.yml --flowFile b.yml", nil, []string{"the flow file is given twice"}},
		{"doctor of nothing", "doctor", nil, []string{"doctor requires a flow file, or registries"}},
		{"doctor of a flow file and registries", "doctor --flowFile a.yml --source a.azurecr.io --targets b.azurecr.io", nil, []string{"cannot be combined with flowFile"}},
		{"doctor of targets alone", "doctor --targets b.azurecr.io", nil, []string{"doctor requires a flow file, or registries"}},
		{"doctor that fails on nothing", "doctor --flowFile a.yml --failOn never", nil, []string{"failOn"}},
		{"help on two topics", "help seal audit", nil, []string{`unexpected argument "audit"`}},
		{"an unknown shell", "completion tcsh", nil, []string{`unknown shell "tcsh"`}},
		{"init in a pipeline", "", []string{"INPUT_ACTION=init"}, []string{`unknown action "init"`}},
		{"automated", prompt + "--approval automated", nil, []string{"requires a flow"}},
		{"unapproved in a build", prompt + "--approval none", []string{"TF_BUILD=True"}, []string{"inside a run"}},
		{"unapproved in a run", prompt + "--approval none", []string{"SYSTEM_COLLECTIONURI=https://x/"}, []string{"inside a run"}},
		{"unapproved with rules", prompt + "--approval none --minApprovers 2 --sealed --environment E", nil, []string{"are set: environment, minApprovers, sealed"}},
		{"unapproved in a pipeline", "", pipeline("INPUT_APPROVAL=none"), []string{"not allowed in a pipeline"}},
		{"unapproved audit in a pipeline", "", []string{"INPUT_ACTION=audit", "INPUT_SOURCE=a/b:1", "INPUT_TARGETS=x", "INPUT_APPROVAL=none"}, []string{"not allowed in a pipeline"}},
		{"seal that locks nothing", "seal --source a/b:1 --lock none", nil, []string{"lock none is not allowed"}},
		{"moveTag of another action", prompt + "--moveTag", nil, []string{"invertedPush never moves a tag"}},
		{"moveTag of an inverted push", "verify --source a/b:1 --targets x --moveTag", nil, []string{"describe invertedPush"}},
		{"verify of a seal with rules", "verify --source a/b:1 --environment E --sealed --approvalCode=false", nil, []string{"are set: environment, approvalCode, sealed"}},
		{"arguments in a pipeline", "seal", pipeline(), []string{`argument "seal" is not allowed`}},
		{"empty action in a pipeline", "", []string{"INPUT_ACTION=", "INPUT_SOURCE=a/b:1"}, []string{"no action given"}},
		{"empty action at a prompt", "", nil, []string{"acrpromote help shows all actions and flags"}},
		{"help in a pipeline", "", []string{"INPUT_ACTION=help"}, []string{`unknown action "help"`}},
		{"mistyped input", "", pipeline("INPUT_MINAPROVERS=2"), []string{"Did you mean minApprovers?"}},
		{"flags as inputs", "", pipeline("INPUT_PLAIN-HTTP=x", "INPUT_OUTPUT=json"), []string{`unknown input "output"`, `unknown input "plain-http"`}},
		{"runtime debugging", "", pipeline("GODEBUG=http2debug=2", "GOTRACEBACK="), []string{"GODEBUG is set, which can print tokens", "GOTRACEBACK is set"}},
		{"too long", "", pipeline("INPUT_APPROVERS=" + strings.Repeat("a", longestValue+1)), []string{"approvers: the value has 32767 bytes"}},
		{"too many", "", pipeline("INPUT_APPROVERS=" + strings.Repeat("a\n", mostEntries+1)), []string{"the list has 1001 entries"}},
		{"line break", "", pipeline("INPUT_ENVIRONMENT=a\nb"), []string{"environment: the value contains a line break"}},
		{"invalid UTF-8", "", pipeline("INPUT_ENVIRONMENT=a\xff"), []string{"not valid UTF-8"}},
		{"endpoint without a name", prompt + "--environment endpoint:", nil, []string{"does not name a service connection"}},
		{"help on an unknown action", "help seel", nil, []string{"Did you mean seal?"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, problems := problemsOf(t, strings.Fields(test.args), test.env)
			if len(problems) != len(test.want) {
				t.Fatalf("%d problems, want %d: %q", len(problems), len(test.want), problems)
			}
			for i, part := range test.want {
				if !strings.Contains(problems[i], part) {
					t.Errorf("%q does not contain %q", problems[i], part)
				}
			}
		})
	}
}

func TestConfigOfAUsageError(t *testing.T) {
	c, problems := problemsOf(t, nil, []string{"INPUT_ACTION=frob", "AGENT_TEMPDIRECTORY=/agent/_temp"})
	if problems == nil || !c.InPipeline || !c.InRun || c.ReportPath() != "/agent/_temp" || c.Action != "" {
		t.Errorf("%+v", c)
	}
	c, problems = problemsOf(t, strings.Fields("frob --output json"), nil)
	if problems == nil || c.InPipeline || !c.JSON() {
		t.Errorf("%+v", c)
	}
}

func TestWarnings(t *testing.T) {
	for _, test := range []struct {
		name string
		args string
		env  []string
		want []string
	}{
		{"not taken", "seal --source a/b:1 --targets x --minApprovers 2 --deep", nil, []string{"targets is ignored", "minApprovers is ignored", "deep is ignored"}},
		{"what check takes", "check f --output json", nil, nil},
		{"what check takes in a pipeline", "", []string{"INPUT_ACTION=check", "INPUT_FLOWFILE=f", "INPUT_DRYRUN=false"}, nil},
		{"what check does not take", "check --flowFile f --targets x", nil, []string{"targets is ignored"}},
		{"defaults are not reported", "seal --source a/b:1 --deep=false --onPartial fail --moveTag=False --postDeployment=false", nil, nil},
		{"relaxing", "invertedPush --source a/b:1 --targets x --sealed=false", nil, []string{"sealed: false is ignored"}},
		{"post-deployment in YAML", "", pipeline("INPUT_POSTDEPLOYMENT=true", "SYSTEM_HOSTTYPE=build"), []string{"postDeployment is ignored"}},
		{"post-deployment in classic", "", pipeline("INPUT_POSTDEPLOYMENT=true", "SYSTEM_HOSTTYPE=release"), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := mustRead(t, strings.Fields(test.args), test.env)
			if len(c.Warnings) != len(test.want) {
				t.Fatalf("%q", c.Warnings)
			}
			for i, w := range test.want {
				if !strings.Contains(c.Warnings[i], w) {
					t.Errorf("%q does not contain %q", c.Warnings[i], w)
				}
			}
		})
	}
}

func TestEffectiveAction(t *testing.T) {
	for args, want := range map[string]string{
		"verify --source a/b:1":                                 Seal,
		"verify --source a/b:1 --targets a":                     Promote,
		"verify --source A:443/b:1 --targets a/c:2 --moveTag":   Promote,
		"verify --source a/b:1 --targets a --targets b":         InvertedPush,
		"verify --source a/b:1 --flowFile f":                    Verify,
		"verify --source a/b:1 --targets b --flowFile f":        Verify,
		"audit --source a/b:1 --targets b":                      Audit,
		"promote --source a/b:1 --targets b":                    Promote,
		"verify --source a/b:1 --targets a:5000/b --lock=image": InvertedPush,
		"plan --source a/b:1 --targets a --lock=tag":            Promote,
		"plan --source a/b:1 --targets a --targets b":           InvertedPush,
		"plan --source a/b:1 --flowFile f --deep":               Plan,
	} {
		c := mustRead(t, strings.Fields(args), nil)
		if c.EffectiveAction() != want {
			t.Errorf("%s: %s, want %s", args, c.EffectiveAction(), want)
		}
		if c.Derives() != (c.Action == Verify || c.Action == Plan) || c.Derives() && !c.ReadOnly() {
			t.Errorf("%s: derives %v, would write %v", args, c.Derives(), !c.ReadOnly())
		}
		if len(c.Warnings) > 0 && c.Action == Plan {
			t.Errorf("%s: %v", args, c.Warnings)
		}
	}
}

// TestSuggestions checks that only near names are suggested.
func TestSuggestions(t *testing.T) {
	for _, test := range []struct {
		args []string
		env  []string
		want string // the whole remedy
	}{
		{args: []string{"xyzzy"}, want: "The actions are " + strings.Join(AllActions, ", ") + "."},
		{args: []string{"seel"}, want: "Did you mean seal? The actions are " + strings.Join(AllActions, ", ") + "."},
		{args: []string{"help", "xyzzy"}, want: "`acrpromote help help` lists the topics."},
		{args: []string{"help", "apporval-code"}, want: "Did you mean approval-code?"},
		{args: []string{"help", "Refused"}, want: "Did you mean refused?"},
		{args: []string{"completion", "bsh"}, want: "Did you mean bash?"},
		{args: []string{"completion"}, want: "Use one of: bash, zsh, fish, powershell."},
		{args: []string{"help", "seel"}, want: "Did you mean seal?"},
		{args: []string{"seal", "--source", "a/b:1", "--xyzzy", "1"}, want: "`acrpromote help` lists the actions and flags."},
		{args: []string{"seal", "--source", "a/b:1", "--lock", "everything"}, want: "Use one of these, or leave it empty."},
		{args: []string{"seal", "--source", "a/b:1", "--lock", "imege"}, want: "Did you mean image?"},
		{env: []string{"INPUT_ACTION=seal", "INPUT_SOURCE=a/b:1", "INPUT_XYZZY=1"}, want: "The inputs are " + strings.Join(inputNames(false), ", ") + "."},
		{env: []string{"INPUT_ACTION=seal", "INPUT_SOURCE=a/b:1", "INPUT_SORCE=1"}, want: "Did you mean source?"},
	} {
		_, err := Read(test.args, test.env)
		wrong, ok := errors.AsType[*UsageError](err)
		if !ok || len(wrong.Problems) != 1 || wrong.Problems[0].Remedy != test.want {
			t.Errorf("%q %q: %v; want the remedy %q", test.args, test.env, err, test.want)
		}
	}
}

func TestLongValuesAreShortened(t *testing.T) {
	_, problems := problemsOf(t, []string{"seal", "--source", "a/b:1", "--minApprovers", strings.Repeat("é", 5000)}, nil)
	if len(problems) != 1 || len(problems[0]) > 250 || !strings.Contains(problems[0], "éé…") {
		t.Errorf("%q", problems)
	}
	_, err := Read([]string{"seal", "--frob"}, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "unknown flag \"--frob\". Did you mean --") || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("%v", err)
	}
}

func TestTerminal(t *testing.T) {
	for env, want := range map[string]bool{"NO_COLOR=1": true, "TERM=dumb": true, "TERM=xterm": false, "NO_COLOR=": false} {
		c := mustRead(t, []string{"version"}, []string{env, "COLUMNS=100"})
		if c.Terminal.Plain() != want || c.Terminal.Columns != 100 {
			t.Errorf("%s: %+v", env, c.Terminal)
		}
	}
}

func TestDurations(t *testing.T) {
	for v, want := range map[string]time.Duration{
		"3d": 72 * time.Hour, "1.5d": 36 * time.Hour, "90m": 90 * time.Minute, "72h": 72 * time.Hour, "1h30m": 90 * time.Minute,
		"0s": 0, "-1h": 0, "0d": 0, "-3d": 0, "d": 0, "3": 0, "1e300d": 0, "NaNd": 0, "Infd": 0, "3d4h": 0, "99999999999d": 0, "0x1p2d": 0,
	} {
		got, err := parseDuration(v)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%s: %v, %v", v, got, err)
		}
	}
}

func TestClaims(t *testing.T) {
	c := mustRead(t, nil, pipeline(
		"SYSTEM_HOSTTYPE=build", "SYSTEM_STAGENAME=Production", "SYSTEM_STAGEATTEMPT=2", "SYSTEM_JOBID=job", "BUILD_BUILDID=4711",
		"RELEASE_RELEASEID=8", "BUILD_REQUESTEDFORID=person", "SYSTEM_JOBPOSITIONINPHASE=-1", "RELEASE_ATTEMPTNUMBER=99999999999999999999",
		"ENDPOINT_URL_SYSTEMVSSCONNECTION=https://dev.azure.com/contoso/", "ENDPOINT_AUTH_PARAMETER_SYSTEMVSSCONNECTION_ACCESSTOKEN=job-token",
		"SYSTEM_ACCESSTOKEN=other"))
	if c.Claims.Classic() || c.Claims.StageName != "Production" || c.Claims.StageAttempt != 2 || c.Claims.BuildID != 4711 ||
		c.Claims.ReleaseID != 8 || c.Claims.JobPositionInPhase != 0 || c.Claims.ReleaseAttempt != 0 ||
		c.CollectionURL != "https://dev.azure.com/contoso/" || c.Token.Reveal() != "job-token" {
		t.Errorf("%+v", c.Claims)
	}
	c = mustRead(t, nil, pipeline("SYSTEM_COLLECTIONURI=https://forged.example/", "SYSTEM_ACCESSTOKEN=forged",
		`ENDPOINT_AUTH_SYSTEMVSSCONNECTION={"parameters":{"AccessToken":"job-token"},"scheme":"OAuth"}`))
	if c.CollectionURL != "" || c.Token.Reveal() != "job-token" {
		t.Errorf("a pipeline uses something other than the system connection: %q", c.CollectionURL)
	}
	c = mustRead(t, strings.Fields("audit --source a/b:1 --targets x"), []string{"SYSTEM_COLLECTIONURI=https://dev.azure.com/contoso/", "SYSTEM_ACCESSTOKEN=script-token"})
	if !c.InRun || c.InPipeline || c.CollectionURL != "https://dev.azure.com/contoso/" || c.Token.Reveal() != "script-token" {
		t.Errorf("a script inside a run: %+v", c)
	}
}

// TestPublishedNames checks that the reports of different steps and attempts have
// different names in a run, and only characters that every file system takes.
func TestPublishedNames(t *testing.T) {
	long := strings.Repeat("a", 40)
	seen := map[string]string{}
	for _, c := range []struct{ environ, again, want string }{
		{"", "", "acrpromote-invertedPush-1"},
		{"SYSTEM_STAGENAME=__default SYSTEM_JOBNAME=__default SYSTEM_STAGEATTEMPT=1 SYSTEM_JOBATTEMPT=1 SYSTEM_PHASENAME=Push", "", "acrpromote-invertedPush-Push-1"},
		{"SYSTEM_STAGENAME=Prod SYSTEM_PHASENAME=Push SYSTEM_JOBNAME=west SYSTEM_TASKINSTANCENAME=AcrPromote", "", "acrpromote-invertedPush-Prod-Push-west-AcrPromote-1"},
		{"SYSTEM_STAGENAME=Prod SYSTEM_PHASENAME=Push SYSTEM_JOBNAME=west SYSTEM_TASKINSTANCENAME=AcrPromote", "-2", "acrpromote-invertedPush-Prod-Push-west-AcrPromote-1-2"},
		{"SYSTEM_STAGENAME=Prod SYSTEM_PHASENAME=Push SYSTEM_JOBNAME=west SYSTEM_TASKINSTANCENAME=AcrPromote1", "", "acrpromote-invertedPush-Prod-Push-west-AcrPromote1-1"},
		{"SYSTEM_STAGENAME=Prod SYSTEM_PHASENAME=Push SYSTEM_JOBNAME=__default SYSTEM_TOTALJOBSINPHASE=2 SYSTEM_JOBPOSITIONINPHASE=1", "", "acrpromote-invertedPush-Prod-Push-1-1"},
		{"SYSTEM_STAGENAME=Prod SYSTEM_PHASENAME=Push SYSTEM_JOBNAME=__default SYSTEM_TOTALJOBSINPHASE=2 SYSTEM_JOBPOSITIONINPHASE=2", "", "acrpromote-invertedPush-Prod-Push-2-1"},
		{"SYSTEM_STAGENAME=Prod SYSTEM_STAGEATTEMPT=2 SYSTEM_JOBATTEMPT=1", "", "acrpromote-invertedPush-Prod-2"},
		{"SYSTEM_STAGENAME=Prod SYSTEM_STAGEATTEMPT=2 SYSTEM_JOBATTEMPT=2", "", "acrpromote-invertedPush-Prod-2.2"},
		{"SYSTEM_STAGENAME=Prod SYSTEM_STAGEATTEMPT=1 SYSTEM_JOBATTEMPT=2", "", "acrpromote-invertedPush-Prod-1.2"},
		{"SYSTEM_STAGENAME=Prod SYSTEM_STAGEATTEMPT=x", "", "acrpromote-invertedPush-Prod-1"},
		{"SYSTEM_STAGENAME=a/b", "", "acrpromote-invertedPush-a_b-66b8e72d-1"},
		{"SYSTEM_STAGENAME=a;b]", "", "acrpromote-invertedPush-a_b_-eb2f0f82-1"},
		{"SYSTEM_STAGENAME=../../" + long, "", ""},
		{"SYSTEM_STAGENAME=ä##vso[task.complete]", "", ""},
		{"SYSTEM_STAGENAME=" + long + "1", "", ""},
		{"SYSTEM_STAGENAME=" + long + "2", "", ""},
		{"SYSTEM_STAGENAME=" + long + " SYSTEM_PHASENAME=" + long + " SYSTEM_JOBNAME=" + long + " SYSTEM_TASKINSTANCENAME=" + long, "-10000", ""},
		{"SYSTEM_HOSTTYPE=release SYSTEM_STAGEATTEMPT=1 RELEASE_ENVIRONMENTNAME=Prod RELEASE_ATTEMPTNUMBER=3", "", "acrpromote-invertedPush-Prod-3"},
	} {
		config := mustRead(t, nil, pipeline(strings.Fields(c.environ)...))
		got := config.PublishedName(c.again)
		if c.want != "" && got != c.want {
			t.Errorf("%s: %s, want %s", c.environ, got, c.want)
		}
		if !regexp.MustCompile(`^[A-Za-z0-9_.-]{1,200}$`).MatchString(got) {
			t.Errorf("%s: the name %s", c.environ, got)
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q have the name %s", other, c.environ, got)
		}
		seen[got] = c.environ
	}
}

// TestPublishesArtifact checks which steps publish an artifact.
func TestPublishesArtifact(t *testing.T) {
	for _, c := range []struct {
		action, host, publish string
		want                  bool
	}{
		{Seal, "build", "", true}, {Promote, "build", "", true}, {InvertedPush, "Build", "", true}, {Plan, "build", "", true}, {Recall, "build", "", true},
		{Verify, "build", "", false}, {Audit, "build", "", false}, {VerifyReceipt, "build", "", false}, {Trace, "build", "", false}, {Doctor, "build", "", false},
		{Promote, "release", "", false}, {Promote, "release", "true", false}, {Promote, "", "", false}, {Promote, "deployment", "true", false},
		{Promote, "build", "false", false}, {Audit, "build", "true", true}, {Promote, "build", "FALSE", false},
	} {
		config := &Config{Action: c.action, Claims: Claims{HostType: c.host}}
		if c.publish != "" {
			if err := config.Publish.EnvDecode(c.publish); err != nil {
				t.Fatal(err)
			}
		}
		if got := config.PublishesArtifact(); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestSuspiciousVariables(t *testing.T) {
	all := []string{
		"NODE_OPTIONS", "NODE_EXTRA_CA_CERTS", "NODE_TLS_REJECT_UNAUTHORIZED", "BASH_ENV", "LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES",
		"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
	}
	var environ []string
	for _, name := range all {
		environ = append(environ, name+"=a-value")
	}
	slices.Sort(all)
	c := mustRead(t, nil, pipeline(environ...))
	if !slices.Equal(c.Suspicious, all) {
		t.Errorf("found %q, want %q", c.Suspicious, all)
	}
	if len(c.Warnings) != 1 || strings.Contains(c.Warnings[0], "a-value") {
		t.Errorf("warnings %q", c.Warnings)
	}
	for _, name := range all {
		if !strings.Contains(strings.Join(c.Warnings, ""), name) {
			t.Errorf("no warning names %s", name)
		}
	}
	for _, test := range []struct{ variable, want string }{
		{"NODE_OPTIONS=", ""},
		{"PATH=/usr/bin", ""},
		{"MY_NODE_OPTIONS=x", ""},
		{"ENV=prod", ""},
		{"https_proxy=http://proxy.example", "https_proxy"},
		{"node_options=--require x", map[bool]string{true: "NODE_OPTIONS"}[runtime.GOOS == "windows"]},
	} {
		if got := strings.Join(mustRead(t, nil, pipeline(test.variable)).Suspicious, ","); !strings.EqualFold(got, test.want) {
			t.Errorf("%s: %q, want %q", test.variable, got, test.want)
		}
	}
	// A person's own proxy is no reason to warn.
	c = mustRead(t, strings.Fields("audit --source a/b:1 --targets x"), []string{"HTTPS_PROXY=http://proxy.example"})
	if len(c.Suspicious) != 1 || len(c.Warnings) != 0 {
		t.Errorf("at a prompt: %q, warnings %q", c.Suspicious, c.Warnings)
	}
	// A usage error does not hide them.
	c, err := Read(nil, pipeline("BASH_ENV=x", "GODEBUG=http2debug=2"))
	if err == nil || !slices.Equal(c.Suspicious, []string{"BASH_ENV", "GODEBUG"}) {
		t.Errorf("of a usage error: %q, %v", c.Suspicious, err)
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	const value = "correct-horse-7"
	c := mustRead(t, nil, pipeline("ENDPOINT_AUTH_PARAMETER_SYSTEMVSSCONNECTION_ACCESSTOKEN="+value,
		"INPUT_AZURESUBSCRIPTION=id-1", "ENDPOINT_AUTH_SCHEME_id-1=ServicePrincipal", "ENDPOINT_AUTH_PARAMETER_id-1_TENANTID=t",
		"ENDPOINT_AUTH_PARAMETER_id-1_SERVICEPRINCIPALID=c", "ENDPOINT_AUTH_PARAMETER_id-1_SERVICEPRINCIPALKEY="+value,
		"AGENT_PROXYURL=http://proxy.example:3128", "AGENT_PROXYUSERNAME=u", "SECRET_AGENT_PROXYPASSWORD="+value,
		`VSTS_PUBLIC_VARIABLES=["agent.proxyurl","agent.proxyusername"]`, `VSTS_SECRET_VARIABLES=["agent.proxypassword"]`))
	if c.Token.Reveal() != value || c.Azure.Secret().Reveal() != value || c.Proxy.Password.Reveal() != value {
		t.Fatal("secrets are missing")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		for _, v := range []any{c.Token, &c.Token, c.Proxy, *c.Azure, c.Azure, *c, c, []Config{*c}} {
			if s := fmt.Sprintf(verb, v); strings.Contains(s, value) || strings.Contains(s, fmt.Sprintf("%x", value)) {
				t.Errorf("%s of %T shows the secret: %s", verb, v, s)
			}
		}
	}
	if s := c.Token.GoString() + c.Token.String(); strings.Contains(s, value) {
		t.Error(s)
	}
	if b, err := json.Marshal(map[string]any{"t": c.Token, "p": c.Proxy, "c": c.Azure}); err != nil || strings.Contains(string(b), value) {
		t.Errorf("%s %v", b, err)
	}
}

func TestScrub(t *testing.T) {
	gone := []string{"ENDPOINT_AUTH_SYSTEMVSSCONNECTION", "ENDPOINT_AUTH_PARAMETER_x_PASSWORD", "SECRET_X", "SYSTEM_ACCESSTOKEN"}
	pipelineOnly := []string{"HTTPS_PROXY", "https_proxy", "Http_Proxy", "ALL_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "AZURE_CLIENT_SECRET", "AZURE_AUTHORITY_HOST"}
	stays := []string{"ENDPOINT_URL_x", "SYSTEM_OIDCREQUESTURI", "INPUT_SOURCE", "PATH"}
	for _, inPipeline := range []bool{false, true} {
		for _, name := range slices.Concat(gone, pipelineOnly, stays) {
			t.Setenv(name, "/value")
		}
		c := &Config{InPipeline: inPipeline}
		if err := c.Scrub(); err != nil {
			t.Fatal(err)
		}
		for _, name := range slices.Concat(gone, pipelineOnly, stays) {
			_, there := os.LookupEnv(name)
			want := slices.Contains(stays, name) || slices.Contains(pipelineOnly, name) && !inPipeline
			if there != want {
				t.Errorf("pipeline %v: %s there: %v", inPipeline, name, there)
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("promote\x00--source\x00a/b:1", "INPUT_ACTION=seal\x00INPUT_SOURCE=x")
	f.Add("--=\x00--\x00-", "=\x00A\x00VSTS_PUBLIC_VARIABLES=[1]")
	f.Fuzz(func(t *testing.T, args, env string) {
		c, err := Read(strings.Split(args, "\x00"), strings.Split(env, "\x00"))
		if c == nil {
			t.Fatal("no configuration")
		}
		if err == nil && (!slices.Contains(AllActions, c.Action) || slices.Contains(Actions, c.Action) && c.Source == "" && !c.HasSet()) {
			t.Fatalf("accepted: %+v", c)
		}
		c.EffectiveAction()
	})
}
