package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// completions are command lines, the last word of which is completed, and what is
// offered.
var completions = []struct {
	words []string
	want  []string
}{
	{[]string{"inv"}, []string{"invertedPush"}},
	{[]string{"he"}, []string{"help"}},
	{[]string{"seal", "--lo"}, []string{"--lock"}},
	{[]string{"seal", "--targ"}, nil},
	{[]string{"audit", "--targ"}, []string{"--targetSubscription", "--targets"}},
	{[]string{"seal", "--lock", ""}, []string{"none", "tag", "image"}},
	{[]string{"promote", "--approval", "a"}, []string{"automated", "any"}},
	{[]string{"promote", "--source", ""}, nil},
	{[]string{"init", "--prod"}, []string{"--production"}},
	{[]string{"help", "approval-un"}, []string{"approval-unreadable", "approval-unbound"}},
	{[]string{"help", "ref"}, []string{"refused"}},
	{[]string{"completion", "po"}, []string{"powershell"}},
	{[]string{"check", "--out"}, []string{"--output"}},
	{[]string{"check", "fl"}, []string{"flows.yml"}},
	{[]string{"code", "fl"}, []string{"flows.yml"}},
	{[]string{"check", "--flowFile", "fl"}, []string{"flows.yml"}},
	{[]string{"audit", "--imagesFrom", "two "}, []string{"two words.txt"}},
}

// shell returns the path of a shell, and a folder with two files. Without the
// shell, the test ends: only bash is on every machine that builds the program.
func shell(t *testing.T, name string) (program, folder string) {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	folder = t.TempDir()
	for _, file := range []string{"flows.yml", "two words.txt"} {
		if err := os.WriteFile(filepath.Join(folder, file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script := CompletionText(name)
	if err := os.WriteFile(filepath.Join(folder, ".completion"), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	return program, folder
}

// runShell runs a script in the folder, and returns the lines that it writes, sorted.
func runShell(t *testing.T, folder, program string, args ...string) []string {
	t.Helper()
	command := exec.Command(program, args...)
	command.Dir = folder
	command.Env = append(os.Environ(), "HOME="+folder, "XDG_CONFIG_HOME="+folder)
	var errors strings.Builder
	command.Stderr = &errors
	output, err := command.Output()
	if err != nil || errors.Len() > 0 {
		t.Fatalf("%s %q: %v\n%s", program, args, err, errors.String())
	}
	var lines []string
	for line := range strings.SplitSeq(string(output), "\n") {
		if line != "" {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

func offers(t *testing.T, words, got, want []string) {
	t.Helper()
	if want = slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
		t.Errorf("%q: offers %q, want %q", words, got, want)
	}
}

func TestCompletionInBash(t *testing.T) {
	bash, folder := shell(t, "bash")
	// The words are those that bash makes: it splits at equals signs.
	script := `. ./.completion; COMP_WORDS=(acrpromote "$@"); COMP_CWORD=$#; _acrpromote; printf '%s\n' "${COMPREPLY[@]}"`
	for _, c := range append(slices.Clone(completions), []struct{ words, want []string }{
		{[]string{"seal", "--lock", "="}, []string{"none", "tag", "image"}},
		{[]string{"seal", "--lock", "=", "i"}, []string{"image"}},
		{[]string{"seal", "--dryRun", "=", "t"}, []string{"true"}},
		{[]string{"seal", "--dryRun", "--lo"}, []string{"--lock"}},
		{[]string{"nonsense", ""}, nil},
	}...) {
		offers(t, c.words, runShell(t, folder, bash, append([]string{"--norc", "-c", script, "bash"}, c.words...)...), c.want)
	}
	if got := runShell(t, folder, bash, "--norc", "-c", ". ./.completion; complete -p acrpromote"); !slices.Equal(got, []string{"complete -F _acrpromote acrpromote"}) {
		t.Errorf("%q", got)
	}
}

// TestCompletionInZsh replaces the functions of zsh's completion system by those
// that write what they are given.
func TestCompletionInZsh(t *testing.T) {
	zsh, folder := shell(t, "zsh")
	script := `
compdef() { [[ "$*" == "_acrpromote acrpromote" ]] || print wrong compdef }
offer() { local w; for w in "$@"; do [[ $w == "$prefix"* ]] && print -r -- "$w"; done; true }
compadd() { [[ $1 == -- ]] && shift; offer "$@" }
compset() { prefix=${prefix#*=} }
_files() { offer *(N) }
_describe() { [[ $1 == -o ]] && shift; offer "${(@)list%%:*}" }
. ./.completion
words=(acrpromote "$@"); CURRENT=$#words; prefix=${words[CURRENT]}
_acrpromote`
	for _, c := range append(slices.Clone(completions), []struct{ words, want []string }{
		{[]string{"seal", "--lock="}, []string{"none", "tag", "image"}},
		{[]string{"seal", "--lock=i"}, []string{"image"}},
		{[]string{"seal", "--dryRun=t"}, []string{"true"}},
		{[]string{"seal", "--dryRun", "--lo"}, []string{"--lock"}},
		{[]string{"nonsense", ""}, nil},
	}...) {
		offers(t, c.words, runShell(t, folder, zsh, append([]string{"-f", "-c", script, "zsh"}, c.words...)...), c.want)
	}
}

func TestCompletionInFish(t *testing.T) {
	fish, folder := shell(t, "fish")
	for _, c := range append(slices.Clone(completions), []struct{ words, want []string }{
		{[]string{"seal", "--lock=i"}, []string{"--lock=image"}},
		{[]string{"seal", "--dryRun", "--lo"}, []string{"--lock"}},
	}...) {
		line := "acrpromote " + strings.ReplaceAll(strings.Join(c.words, " "), "two ", `two\ `)
		got := runShell(t, folder, fish, "--no-config", "-c", "source .completion; complete -C '"+line+"'")
		for i := range got {
			got[i], _, _ = strings.Cut(got[i], "\t")
		}
		offers(t, c.words, got, c.want)
	}
}

// TestCompletionInPowerShell checks what a parser would without PowerShell:
// quotes and brackets are balanced, and every list has its elements.
func TestCompletionInPowerShell(t *testing.T) {
	text := CompletionText("powershell")
	if strings.Count(text, "'")%2 != 0 || strings.Contains(text, "@('')") {
		t.Error("the quotes are not balanced, or a list is empty")
	}
	var open []rune
	for _, r := range text {
		switch r {
		case '(', '{', '[':
			open = append(open, r)
		case ')', '}', ']':
			if pair := map[rune]rune{')': '(', '}': '{', ']': '['}[r]; len(open) == 0 || open[len(open)-1] != pair {
				t.Fatalf("%c closes nothing", r)
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) != 0 {
		t.Errorf("%d brackets are not closed", len(open))
	}
}

// TestCompletionHasEveryFlag checks that no script forgets an action, a flag or a
// topic.
func TestCompletionHasEveryFlag(t *testing.T) {
	for _, shell := range Shells {
		text := CompletionText(shell)
		for _, in := range Inputs {
			flag := "--" + in.Name
			if shell == "fish" {
				flag = "-l " + in.Name + " "
			}
			if in.Name != "action" && !strings.Contains(text, flag) {
				t.Errorf("%s lacks %s", shell, flag)
			}
		}
		for _, topic := range helpTopics() {
			if !strings.Contains(text, topic) {
				t.Errorf("%s lacks %s", shell, topic)
			}
		}
	}
}
