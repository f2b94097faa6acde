package fakeagent

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestCommandsAreFoundAsTheAgentFindsThem(t *testing.T) {
	for _, test := range []struct {
		line string
		want Command
		ok   bool
	}{
		{"##vso[task.complete result=Failed]why", Command{"task", "complete", map[string]string{"result": "Failed"}, "why"}, true},
		{"text ##vso[task.debug]x", Command{"task", "debug", map[string]string{}, "x"}, true},
		{"##vso[task.setvariable Variable=a;isOutput=true;]b", Command{"task", "setvariable", map[string]string{"variable": "a", "isoutput": "true"}, "b"}, true},
		{"##vso[task.debug]%3B%5D%0A%AZP250A%25", Command{"task", "debug", map[string]string{}, ";]\n%0A%25"}, true},
		{"##vso[task.debug]%AZP25AZP25", Command{"task", "debug", map[string]string{}, "%AZP25"}, true},
		{"##vso[task.debug a=%5D%3B=c]", Command{"task", "debug", map[string]string{"a": "];=c"}, ""}, true},
		{"##vso[task.debug no end", Command{}, false},
		{"##vso[task]x", Command{}, false},
		{"##vso[a.b.c]x", Command{}, false},
		{"## vso[task.debug]x", Command{}, false},
	} {
		got, ok := ParseCommand(test.line)
		if ok != test.ok || ok && !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %+v, %v; want %+v, %v", test.line, got, ok, test.want, test.ok)
		}
	}
}

func TestLinesEndAsTheAgentEndsThem(t *testing.T) {
	var got []string
	readLines(strings.NewReader("a\nb\rc\r\nd\r\n\ne\r\rf"), func(line string) { got = append(got, line) })
	if want := []string{"a", "b", "c", "d", "", "e", "", "f"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWhatCommandsDo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "summary.md")
	if err := os.WriteFile(file, []byte("# done"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		lines  []string
		result string
		check  func(Record) bool
	}{
		{"results merge to the worst", []string{"##vso[task.complete result=Failed]", "##vso[task.complete result=Succeeded]"}, "Failed", nil},
		{"a worse one later", []string{"##vso[task.complete result=Succeeded]", "##vso[task.complete result=SucceededWithIssues]"}, "SucceededWithIssues", nil},
		{"nothing undoes canceled", []string{"##vso[task.complete result=Canceled]", "##vso[task.complete result=Abandoned]"}, "Canceled", nil},
		{"an unknown result", []string{"##vso[task.complete result=succeeded]"}, "Failed", nil},
		{"an issue fails nothing", []string{"##vso[task.logissue type=error]bad"}, "", func(r Record) bool { return len(r.Errors) == 1 }},
		{"a bad issue does", []string{"##vso[task.logissue type=hint]bad"}, "Failed", nil},
		{"a variable in any case", []string{"##vso[task.setvariable variable=DIGEST;isOutput=true]x"}, "", func(r Record) bool { return r.Variables["DIGEST"] == Variable{"x", true, false} }},
		{"a forbidden variable is a warning", []string{"##vso[task.setvariable variable=PATH]x"}, "", func(r Record) bool { return len(r.Variables) == 0 && len(r.Warnings) == 1 }},
		{"a variable without a name", []string{"##vso[task.setvariable]x"}, "Failed", nil},
		{"a summary", []string{"##vso[task.uploadsummary]" + file}, "", func(r Record) bool { return r.Summary() == "# done" }},
		{"a summary that is missing", []string{"##vso[task.uploadsummary]" + file + ".no"}, "Failed", nil},
		{"test results", []string{"##vso[results.publish type=JUnit;resultFiles=" + file + "]"}, "", func(r Record) bool { return len(r.Tests) == 1 && r.Tests[0] == "# done" }},
		{"test results that are missing", []string{"##vso[results.publish type=JUnit;resultFiles=" + file + ".no]"}, "", func(r Record) bool { return len(r.Tests) == 0 && len(r.Warnings) == 1 }},
		{"no files of test results", []string{"##vso[results.publish type=JUnit]"}, "Failed", nil},
		{"no summary at all", []string{"##vso[task.uploadsummary]"}, "Failed", nil},
		{"an unknown command", []string{"##vso[task.dance]"}, "Failed", nil},
		{"an unknown area is a warning", []string{"##vso[dance.task]"}, "", func(r Record) bool { return len(r.Warnings) == 1 }},
		{"an attachment", []string{"##vso[task.addattachment type=T;name=N]" + file}, "", func(r Record) bool {
			return len(r.Attachments) == 1 && r.Attachments[0] == Attachment{"T", "N", "# done"}
		}},
		{"an attachment that is missing", []string{"##vso[task.addattachment type=T;name=N]" + file + ".no"}, "Failed", nil},
		{"an attachment whose name is no file's", []string{"##vso[task.addattachment type=T;name=a:b]" + file}, "Failed", nil},
		{"an attachment without a type", []string{"##vso[task.addattachment name=N]" + file}, "Failed", nil},
		{"a file as an artifact", []string{"##vso[artifact.upload artifactname=a]" + file}, "", func(r Record) bool {
			return len(r.Artifacts) == 1 && reflect.DeepEqual(r.Artifacts[0], Artifact{"a", map[string]string{"summary.md": "# done"}})
		}},
		{"a folder as an artifact", []string{"##vso[artifact.upload containerfolder=a;artifactname=a]" + filepath.Dir(file)}, "", func(r Record) bool { return len(r.Artifacts) == 1 && r.Artifacts[0].Files["summary.md"] == "# done" }},
		{"an empty folder is a warning", []string{"##vso[artifact.upload artifactname=a]" + t.TempDir()}, "", func(r Record) bool { return len(r.Artifacts) == 0 && len(r.Warnings) == 1 }},
		{"an artifact that is missing", []string{"##vso[artifact.upload artifactname=a]" + file + ".no"}, "Failed", nil},
		{"an artifact without a name", []string{"##vso[artifact.upload containerfolder=a]" + file}, "Failed", nil},
		{"an artifact whose name is no file's", []string{"##vso[artifact.upload artifactname=a/b]" + file}, "Failed", nil},
		{"an artifact in another's folder", []string{"##vso[artifact.upload containerfolder=b;artifactname=a]" + file}, "Failed", nil},
		{"the same artifact again", []string{"##vso[artifact.upload artifactname=a]" + file, "##vso[artifact.upload artifactname=A]" + file}, "Failed", nil},
		{"another command on artifacts", []string{"##vso[artifact.associate artifactname=a]" + file}, "Failed", nil},
		{"a command on the run", []string{"##vso[build.addbuildtag]x"}, "Failed", nil},
		{"a broken command is a line and a warning", []string{"##vso[task.complete"}, "", func(r Record) bool { return len(r.Warnings) == 1 && len(r.Log) == 1 }},
		{"a secret and a line", []string{"##vso[task.setsecret]s", "line"}, "", func(r Record) bool { return len(r.Secrets) == 1 && len(r.Log) == 1 }},
	} {
		r := newReader([]string{"digest"}, []string{"SYSTEM_HOSTTYPE=build", "BUILD_CONTAINERID=1"})
		for _, line := range test.lines {
			r.line(line)
		}
		if r.record.Result != test.result || test.check != nil && !test.check(r.record) {
			t.Errorf("%s: %+v, want the result %q", test.name, r.record, test.result)
		}
	}
}

// TestArtifactsOfJobs checks where there are no artifacts.
func TestArtifactsOfJobs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, []byte("page"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, environ := range [][]string{
		{"SYSTEM_HOSTTYPE=release", "BUILD_CONTAINERID=1"}, // a classic release
		{"BUILD_CONTAINERID=1"},
		{"SYSTEM_HOSTTYPE=build"},
	} {
		r := newReader(nil, environ)
		r.line("##vso[artifact.upload artifactname=a]" + file)
		if r.record.Result != "Failed" || len(r.record.Artifacts) != 0 {
			t.Errorf("%v: %+v", environ, r.record)
		}
	}
}
