package agent

import (
	"fmt"
	"slices"
	"strings"
)

// Shells are the shells that command lines can be completed in.
var Shells = []string{"bash", "zsh", "fish", "powershell"}

// CompletionText returns a script for a shell, one of Shells, that completes
// actions, flags, and the values of flags that have a fixed set of them.
func CompletionText(shell string) string {
	switch shell {
	case "bash":
		return bashCompletion()
	case "zsh":
		return zshCompletion()
	case "fish":
		return fishCompletion()
	}
	return powerShellCompletion()
}

// flagsOf returns the flags of an action.
func flagsOf(action string) []Input {
	return slices.DeleteFunc(slices.Clone(Inputs), func(in Input) bool { return in.Name == "action" || !in.UsedBy(action) })
}

// flagNames returns the names of flags, each after two dashes, joined by a separator.
func flagNames(flags []Input, separator string) string {
	names := make([]string, len(flags))
	for i, in := range flags {
		names[i] = "--" + in.Name
	}
	return strings.Join(names, separator)
}

// flagsWith returns the flags, of any action, that meet a condition.
func flagsWith(condition func(Input) bool) []Input {
	return slices.DeleteFunc(slices.Clone(Inputs), func(in Input) bool { return in.Name == "action" || !condition(in) })
}

func (in Input) isPick() bool    { return in.Type == Pick }
func (in Input) isBoolean() bool { return in.Type == Boolean }

// takesPath reports whether files are completed for a flag. That includes
// flowFile, which can also name a file on the server.
func (in Input) takesPath() bool { return in.Type == Path || in.Name == "flowFile" }

func (in Input) takesText() bool { return !in.isPick() && !in.isBoolean() && !in.takesPath() }

// words returns what is completed after an action, in addition to its flags.
func words(action string) []string {
	switch action {
	case Help:
		return helpTopics()
	case Completion:
		return Shells
	}
	return nil
}

// fileActions has the actions that take a file without a flag.
var fileActions = []string{Check, Code, Report}

// summary returns the first clause of a help text.
func summary(help string) string {
	end := len(help)
	for _, mark := range []string{". ", ": ", "; "} {
		if i := strings.Index(help, mark); i >= 0 {
			end = min(end, i)
		}
	}
	return strings.TrimSuffix(help[:end], ".")
}

func bashCompletion() string {
	var b strings.Builder
	b.WriteString(`# Completes acrpromote in bash. Load it with: source <(acrpromote completion bash)
_acrpromote() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} joined= action= words= files= IFS
  # bash makes a word of the equals sign.
  if [ "$cur" = "=" ]; then
    cur= joined=1
  elif [ "$prev" = "=" ]; then
    prev=${COMP_WORDS[COMP_CWORD-2]} joined=1
  fi
  [ "$COMP_CWORD" -gt 1 ] && action=${COMP_WORDS[1]}
  COMPREPLY=()
  case $prev in
`)
	for _, in := range flagsWith(Input.isPick) {
		fmt.Fprintf(&b, "  --%s) words=%q ;;\n", in.Name, strings.Join(in.Picks, " "))
	}
	fmt.Fprintf(&b, "  %s) files=1 ;;\n", flagNames(flagsWith(Input.takesPath), "|"))
	fmt.Fprintf(&b, "  %s) return ;;\n", flagNames(flagsWith(Input.takesText), "|"))
	b.WriteString("  esac\n  if [ -n \"$joined\" ] && [ -z \"$words$files\" ]; then\n    words=\"true false\"\n  elif [ -z \"$words$files\" ]; then\n    case $action in\n")
	fmt.Fprintf(&b, "    \"\") words=%q ;;\n", strings.Join(AllActions, " "))
	for _, action := range AllActions {
		all := strings.Join(append(words(action), strings.Fields(flagNames(flagsOf(action), " "))...), " ")
		fmt.Fprintf(&b, "    %s) words=%q ;;\n", action, strings.TrimSpace(all+" --help"))
	}
	b.WriteString("    esac\n")
	for _, action := range fileActions {
		fmt.Fprintf(&b, "    case $action:$cur in %s:-*) ;; %s:*) files=1 ;; esac\n", action, action)
	}
	b.WriteString(`  fi
  if [ -n "$files" ]; then
    compopt -o filenames 2>/dev/null
    IFS=$'\n'
    COMPREPLY=($(compgen -f -- "$cur"))
    return
  fi
  IFS=$' \n'
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _acrpromote acrpromote
`)
	return b.String()
}

// zshItem returns an entry for _describe: a word and its description.
func zshItem(word, about string) string {
	return " '" + word + ":" + strings.ReplaceAll(about, "'", `'\''`) + "'"
}

func zshCompletion() string {
	var b strings.Builder
	b.WriteString(`#compdef acrpromote
# Completes acrpromote in zsh. Load it after compinit with: source <(acrpromote completion zsh)
_acrpromote() {
  local action= flag=${words[CURRENT-1]} joined=
  local -a list
  (( CURRENT > 2 )) && action=${words[2]}
  if [[ ${words[CURRENT]} == --*=* ]]; then
    flag=${words[CURRENT]%%=*} joined=1
    compset -P '*='
  fi
  case $flag in
`)
	for _, in := range flagsWith(Input.isPick) {
		fmt.Fprintf(&b, "  --%s) compadd -- %s; return ;;\n", in.Name, strings.Join(in.Picks, " "))
	}
	fmt.Fprintf(&b, "  %s) [[ -n $joined ]] && { compadd -- true false; return } ;;\n", flagNames(flagsWith(Input.isBoolean), "|"))
	fmt.Fprintf(&b, "  %s) _files; return ;;\n", flagNames(flagsWith(Input.takesPath), "|"))
	fmt.Fprintf(&b, "  %s) return ;;\n", flagNames(flagsWith(Input.takesText), "|"))
	b.WriteString("  esac\n  case $action in\n  '')\n    list=(")
	for _, a := range actionHelp {
		b.WriteString(zshItem(a.name, summary(a.help)))
	}
	b.WriteString(" )\n    _describe action list ;;\n")
	for _, action := range AllActions {
		fmt.Fprintf(&b, "  %s)\n", action)
		if all := words(action); all != nil {
			fmt.Fprintf(&b, "    compadd -- %s\n", strings.Join(all, " "))
		}
		if slices.Contains(fileActions, action) {
			b.WriteString("    [[ ${words[CURRENT]} == -* ]] || _files\n")
		}
		b.WriteString("    list=(")
		for _, in := range flagsOf(action) {
			b.WriteString(zshItem("--"+in.Name, summary(in.help(action))))
		}
		b.WriteString(zshItem("--help", "Show the help for "+action) + " )\n    _describe -o flag list ;;\n")
	}
	b.WriteString(`  esac
}
if [[ ${funcstack[1]} == _acrpromote ]]; then
  _acrpromote
else
  compdef _acrpromote acrpromote
fi
`)
	return b.String()
}

func fishCompletion() string {
	var b strings.Builder
	quoted := strings.NewReplacer(`\`, `\\`, "'", `\'`)
	b.WriteString("# Completes acrpromote in fish. Load it with: acrpromote completion fish | source\ncomplete -c acrpromote -f\n")
	for _, a := range actionHelp {
		fmt.Fprintf(&b, "complete -c acrpromote -n __fish_use_subcommand -a %s -d '%s'\n", a.name, quoted.Replace(summary(a.help)))
		if all := words(a.name); all != nil {
			fmt.Fprintf(&b, "complete -c acrpromote -n '__fish_seen_subcommand_from %s' -a '%s'\n", a.name, strings.Join(all, " "))
		}
	}
	fmt.Fprintf(&b, "complete -c acrpromote -n '__fish_seen_subcommand_from %s' -F\n", strings.Join(fileActions, " "))
	b.WriteString("complete -c acrpromote -l help -d 'Show the help'\n")
	for _, in := range flagsWith(func(Input) bool { return true }) {
		var actions []string
		for _, action := range AllActions {
			if in.UsedBy(action) {
				actions = append(actions, action)
			}
		}
		value := "-x"
		switch {
		case in.isBoolean():
			value = ""
		case in.isPick():
			value = "-x -a '" + strings.Join(in.Picks, " ") + "'"
		case in.takesPath():
			value = "-r -F"
		}
		fmt.Fprintf(&b, "complete -c acrpromote -n '__fish_seen_subcommand_from %s' -l %s %s -d '%s'\n",
			strings.Join(actions, " "), in.Name, value, quoted.Replace(summary(in.Help)))
	}
	return b.String()
}

// powerShellList returns words as an array of PowerShell.
func powerShellList(words []string) string { return "@('" + strings.Join(words, "', '") + "')" }

func powerShellCompletion() string {
	var b strings.Builder
	b.WriteString(`# Completes acrpromote in PowerShell. Load it with: acrpromote completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName acrpromote -ScriptBlock {
  param($wordToComplete, $commandAst, $cursorPosition)
  $values = @{
`)
	for _, in := range flagsWith(Input.isPick) {
		fmt.Fprintf(&b, "    '--%s' = %s\n", in.Name, powerShellList(in.Picks))
	}
	b.WriteString("  }\n  $words = @{\n")
	fmt.Fprintf(&b, "    '' = %s\n", powerShellList(AllActions))
	for _, action := range AllActions {
		all := append(words(action), strings.Fields(flagNames(flagsOf(action), " "))...)
		fmt.Fprintf(&b, "    '%s' = %s\n", action, powerShellList(append(all, "--help")))
	}
	b.WriteString("  }\n")
	fmt.Fprintf(&b, "  $open = %s\n", powerShellList(strings.Fields(flagNames(flagsWith(func(in Input) bool { return in.takesText() || in.takesPath() }), " "))))
	b.WriteString(`  $before = @($commandAst.CommandElements | Where-Object { $_.Extent.EndOffset -lt $cursorPosition } | ForEach-Object { $_.Extent.Text })
  $action = if ($before.Count -gt 1) { $before[1] } else { '' }
  $last = $before[-1]
  $candidates = if ($values.ContainsKey($last)) { $values[$last] } elseif ($open -contains $last) { @() } else { $words[$action] }
  $candidates | Where-Object { $_.StartsWith($wordToComplete) } | ForEach-Object {
    [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
  }
}
`)
	return b.String()
}
