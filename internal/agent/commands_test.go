package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"unicode"
)

// command is a logging command as the agent parses it.
type command struct {
	name       string
	properties map[string]string
	data       string
}

// agentReads parses output as the agent does: it splits at CR and LF, and looks
// for a command anywhere in each line. To be on the safe side, it ignores case
// and invisible characters, as string comparison in .NET may.
func agentReads(output string) (commands []command, plain []string) {
	for line := range strings.FieldsFuncSeq(output, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if c, ok := parse(line); ok {
			commands = append(commands, c)
		} else {
			plain = append(plain, line)
		}
	}
	return commands, plain
}

func parse(line string) (command, bool) {
	at := strings.Index(line, "##vso[")
	if at < 0 {
		bare := strings.ToLower(strings.Map(func(r rune) rune {
			if r == 0 || unicode.In(r, unicode.Cf, unicode.Mn, unicode.Me, unicode.Cc) {
				return -1
			}
			return r
		}, line))
		return command{name: "hidden"}, strings.Contains(bare, "##vso[") || strings.Contains(bare, "##[")
	}
	end := strings.IndexByte(line[at:], ']')
	if end < 0 {
		return command{}, false
	}
	info, data := line[at+len("##vso["):at+end], line[at+end+1:]
	name, list, _ := strings.Cut(info, " ")
	c := command{name: name, properties: map[string]string{}, data: unescape(data)}
	for pair := range strings.SplitSeq(list, ";") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			c.properties[k] = unescape(v)
		}
	}
	return c, true
}

func unescape(s string) string {
	for _, e := range [][2]string{{"%3B", ";"}, {"%0D", "\r"}, {"%0A", "\n"}, {"%5D", "]"}, {"%AZP25", "%"}} {
		s = strings.ReplaceAll(s, e[0], e[1])
	}
	return s
}

func TestEncodeRoundTrip(t *testing.T) {
	for _, v := range []string{"", "plain", "a;b]c%d\r\ne", "%3B%5D%0A%0D", "%AZP25", "%AZP253B", "%%AZP25%", "]##vso[task.complete result=Failed;]x", `C:\a b\result.json`} {
		line := encode("task.x", []property{{"a", v}, {"b", "1"}}, v)
		if strings.ContainsAny(line, "\r\n") {
			t.Errorf("more than one line: %q", line)
		}
		c, ok := parse(line)
		if !ok || c.name != "task.x" || c.properties["a"] != v || c.properties["b"] != "1" || len(c.properties) != 2 || c.data != v {
			t.Errorf("%q became %+v by %q", v, c, line)
		}
	}
}

func TestCommands(t *testing.T) {
	var out bytes.Buffer
	c := NewCommands(NewLog(&out, false), true, false)
	c.Debug("GET registry.example/v2/")
	c.Warning("first\nsecond")
	c.Error("100 % ##vso[task.setvariable variable=digest]x")
	c.SetProgress(120, "10 MiB")
	if err := c.SetVariable("image", "registry.example/a@sha256:00"); err != nil {
		t.Error(err)
	}
	if err := c.SetVariable("path", "/evil"); err == nil {
		t.Error("a variable other than the four outputs was set")
	}
	c.UploadSummary("/agent/_temp/a%b;c]/summary.md")
	c.AddAttachment("acrpromote.seal", "a;b]", "/agent/_temp/a%b;c]/seal.json")
	c.UploadArtifact("a;b]", "/agent/_temp/a%b;c]/report")
	c.PublishTests("stage a;b] ##", "/agent/_temp/a%b;c]/tests.xml")
	c.PublishTests("x", "/agent/a,b/tests.xml")
	c.Complete(Failed, "refused")
	c.Complete(Succeeded, "done")
	want := `##vso[task.debug]GET registry.example/v2/
##vso[task.logissue type=warning;]first⏎second
##vso[task.logissue type=error;]100 %AZP25 # #vso[task.setvariable variable=digest]x
##vso[task.setprogress value=100;]10 MiB
##vso[task.setvariable variable=image;isOutput=true;]registry.example/a@sha256:00
##vso[task.uploadsummary]/agent/_temp/a%AZP25b;c]/summary.md
##vso[task.addattachment type=acrpromote.seal;name=a%3Bb%5D;]/agent/_temp/a%AZP25b;c]/seal.json
##vso[artifact.upload containerfolder=a%3Bb%5D;artifactname=a%3Bb%5D;]/agent/_temp/a%AZP25b;c]/report
##vso[results.publish type=JUnit;mergeResults=true;runTitle=stage a%3Bb%5D # #;resultFiles=/agent/_temp/a%AZP25b%3Bc%5D/tests.xml;]
##vso[task.logissue type=warning;]The test results are not published: the path of the folder has a comma or a bar. Set reportFolder to another folder.
##vso[task.complete result=Failed;]refused
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}

	out.Reset()
	c = NewCommands(NewLog(&out, false), false, true)
	c.Debug("detail")
	c.Warning("careful")
	c.SetProgress(1, "x")
	c.UploadSummary("x")
	c.AddAttachment("x", "x", "x")
	c.UploadArtifact("x", "x")
	c.PublishTests("x", "x")
	_ = c.SetVariable("digest", "x")
	c.Complete(Failed, "x")
	if out.String() != "debug: detail\nwarning: careful\n" {
		t.Errorf("at a prompt: %q", out.String())
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain: ü → 漢 #1 100%":           "plain: ü → 漢 #1 100%",
		"##vso[task.complete]":           "# #vso[task.complete]",
		"a ##VSO[x] ##[error]":           "a # #VSO[x] # #[error]",
		"####":                           "# # # #",
		"a\r##vso[x]\r\nb\nc":            "a⏎# #vso[x]⏎b⏎c",
		"a\u2028b\u2029c\u0085d\ve\ff":   "a⏎b⏎c⏎d⏎e⏎f",
		"#\x00#vso[x]":                   "#<U+0000>#vso[x]",
		"#\u200d#v\u00adso[x]":           "#<U+200D>#v<U+00AD>so[x]",
		"\x1b[31mred\x1b[0m\tt":          "<U+001B>[31mred<U+001B>[0m t",
		"\u202egnp.exe":                  "<U+202E>gnp.exe",
		"\xff\xfe":                       "<FF><FE>",
		"a\ufe0fb\u3164\u3000#\ufe0f#":   "ab<U+3164> # #",
		strings.Repeat("é", longestLine): strings.Repeat("é", longestLine/2) + fmt.Sprintf("… (%d more bytes)", longestLine),
	} {
		if got := Escape(in); got != want {
			t.Errorf("%.60q became %.80q, want %.80q", in, got, want)
		}
	}
}

func TestLogKeepsOnlyOwnColours(t *testing.T) {
	block := "\x1b[32mdone\x1b[0m #\x1b[0m# \x1b[2K\x1b]0;title\x07\n##vso[x]\n"
	var colour, plain bytes.Buffer
	NewLog(&colour, true).Text(block)
	NewLog(&plain, false).Text(block)
	if want := "\x1b[32mdone\x1b[0m #\x1b[0m # <U+001B>[2K<U+001B>]0;title<U+0007>\n# #vso[x]\n"; colour.String() != want {
		t.Errorf("%q", colour.String())
	}
	if strings.Contains(plain.String(), "\x1b") || strings.Contains(plain.String(), "##") {
		t.Errorf("%q", plain.String())
	}
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestTextThatCannotBeWritten(t *testing.T) {
	if err := NewLog(full{}, false).Text("a report"); err == nil {
		t.Error("no error")
	}
}

func TestLiveLineStaysLast(t *testing.T) {
	var out bytes.Buffer
	l := NewLog(&out, false)
	l.Live("1 of 2")
	l.Line("warning")
	l.Live("")
	l.Line("end")
	if want := "1 of 2\r\x1b[2Kwarning\n1 of 2\r\x1b[2Kend\n"; out.String() != want {
		t.Errorf("%q", out.String())
	}
}

func TestDocumentIsUnchanged(t *testing.T) {
	in := map[string]string{"a": "####vso[x] #\u200d#vso[ #1 \\##", "b": "##[error]"}
	raw, _ := json.MarshalIndent(in, "", " ")
	var out bytes.Buffer
	if err := NewLog(&out, false).Document(raw); err != nil {
		t.Fatal(err)
	}
	var back map[string]string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back["a"] != in["a"] || back["b"] != in["b"] {
		t.Errorf("%v: %q", err, back)
	}
	if commands, _ := agentReads(out.String()); len(commands) > 0 {
		t.Errorf("%q", out.String())
	}
}

func TestLinesDoNotMix(t *testing.T) {
	var out oneByOne
	l := NewLog(&out, false)
	c := NewCommands(l, true, false)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				l.Line("aaaa")
				c.Debug("bbbb")
				l.Text("cccc\ndddd")
				c.Complete(Failed, "end")
			}
		})
	}
	wg.Wait()
	counts := map[string]int{}
	for line := range strings.Lines(out.b.String()) {
		counts[strings.TrimSuffix(line, "\n")]++
	}
	if len(counts) != 5 || counts["aaaa"] != 400 || counts["##vso[task.debug]bbbb"] != 400 || counts["dddd"] != 400 || counts["##vso[task.complete result=Failed;]end"] != 1 {
		t.Errorf("%v", counts)
	}
}

// oneByOne writes byte by byte, as a slow pipe might, so that unguarded lines
// would mix.
type oneByOne struct{ b bytes.Buffer }

func (o *oneByOne) Write(p []byte) (int, error) {
	for _, c := range p {
		o.b.WriteByte(c)
	}
	return len(p), nil
}

func FuzzNoCommandGetsThrough(f *testing.F) {
	for _, s := range []string{"##vso[task.setvariable variable=digest]x", "\r##vso[a.b]", "%0D##vso[a.b]", "%AZP250D##vso[a.b]", "#\x00#vso[", "#\u00ad#[error]", "]##vso[task.complete result=Succeeded;]", "\x1b[1m##vso[a.b]", "＃＃vso[", "\xe2##\x80vso["} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if h := Escape(s); len(s) < longestLine/10 && Escape(h) != h {
			t.Errorf("escaping again changes it: %q", h)
		}
		for _, colour := range []bool{false, true} {
			var out bytes.Buffer
			l := NewLog(&out, colour)
			l.Line(s)
			l.Text(s)
			l.Live(s)
			l.Line(s)
			raw, _ := json.Marshal(map[string]string{"k": s})
			_ = l.Document(raw)
			if commands, _ := agentReads(out.String()); len(commands) > 0 {
				t.Fatalf("%q: %+v", s, commands)
			}
		}
		var out bytes.Buffer
		c := NewCommands(NewLog(&out, false), true, false)
		c.Debug(s)
		c.Warning(s)
		c.SetProgress(3, s)
		_ = c.SetVariable("report", s)
		c.UploadSummary(s)
		c.Complete(Failed, s)
		commands, plain := agentReads(out.String())
		want := []string{"task.debug", "task.logissue", "task.setprogress", "task.setvariable", "task.uploadsummary", "task.complete"}
		if len(commands) != len(want) || len(plain) > 0 {
			t.Fatalf("%q: %+v %q", s, commands, plain)
		}
		for i, name := range want {
			if commands[i].name != name {
				t.Fatalf("%q: %+v", s, commands)
			}
		}
		if commands[3].data != s || commands[3].properties["variable"] != "report" || commands[4].data != s || commands[5].properties["result"] != "Failed" {
			t.Fatalf("%q: %+v", s, commands)
		}
	})
}
