package agent

import (
	"fmt"
	"slices"
	"strings"

	"acrpromote/internal/levenshtein"
)

// flags parses a command line: the action, followed by flags with the names of
// the inputs and, for some actions, arguments without a flag. It returns the values by
// the keys of the environment, and these arguments.
func flags(args []string, usage *UsageError) (given map[string]string, operands []string) {
	given = map[string]string{}
	hint := "`acrpromote help` lists the actions and flags."
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		given["INPUT_ACTION"] = args[0]
		args = args[1:]
	}
	help := false
	seen := map[string]bool{}
	// boolean is the boolean flag that was just read without a value.
	boolean := ""
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch arg {
		case "--help", "-h":
			help = true
			continue
		case "--version":
			given["INPUT_ACTION"] = Version
			continue
		}
		name, isFlag := strings.CutPrefix(arg, "--")
		takes, some := arguments[given["INPUT_ACTION"]]
		if (!isFlag || name == "") && boolean != "" && !takes.several {
			in, _ := inputNamed(boolean)
			remedy := fmt.Sprintf("Write --%[1]s or --%[1]s=true, or --%[1]s=false.", boolean)
			if in.Type != Boolean {
				remedy = in.correction(arg)
			}
			usage.add("--"+boolean, checkValue(in, arg).Error(), remedy)
			boolean = ""
			continue
		}
		boolean = ""
		if some && (len(operands) == 0 || takes.several) && arg != "" && !strings.HasPrefix(arg, "-") {
			operands = append(operands, arg)
			continue
		}
		if !isFlag || name == "" {
			usage.add(arg, "unexpected argument "+quote(arg),
				"Write the action first, then flags as --flag VALUE or --flag=VALUE; a boolean flag is --flag or --flag=false. "+hint)
			continue
		}
		name, value, joined := strings.Cut(name, "=")
		in, known := inputNamed(name)
		if !known {
			remedy := hint
			if near, ok := levenshtein.Nearest(name, inputNames(true)); ok {
				remedy = fmt.Sprintf("Did you mean --%s? %s", near, hint)
			}
			usage.add("--"+name, "unknown flag "+quote("--"+name), remedy)
			// Do not report the value of an unknown flag as a second mistake.
			if !joined && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
				args = args[1:]
			}
			continue
		}
		if !joined {
			switch next := first(args); {
			case in.isSwitch() && !in.isSwitchValue(next):
				value, boolean = "true", name
			case len(args) == 0 || strings.HasPrefix(next, "--"):
				usage.add("--"+name, fmt.Sprintf("flag --%s requires a value", name),
					fmt.Sprintf("Write --%[1]s VALUE, or --%[1]s=VALUE if the value begins with a dash.", name))
				continue
			default:
				value, args = next, args[1:]
			}
		}
		key := in.flagKey()
		switch {
		case !seen[name] && name != "action":
			given[key] = value
		case name == "action" && given[key] == "" || given[key] == value:
			given[key] = value
		case in.isList():
			given[key] += "\n" + value
		default:
			usage.add("--"+name, fmt.Sprintf("flag --%s is given twice with different values", name), "Give it once.")
		}
		seen[name] = true
	}
	if help {
		topic := given["INPUT_ACTION"]
		if topic == Help || topic == Version {
			topic = ""
		}
		given["INPUT_ACTION"] = Help
		return given, []string{topic}
	}
	for _, in := range Inputs {
		// An expectation that is empty by mistake would accept every receipt.
		if given["INPUT_ACTION"] == VerifyReceipt && seen[in.Name] && slices.Contains(in.Actions, VerifyReceipt) && strings.TrimSpace(given[in.flagKey()]) == "" {
			usage.add("--"+in.Name, fmt.Sprintf("flag --%s is empty, so that it would expect nothing", in.Name), "Write a value, or leave the flag out. Is a variable empty?")
		}
	}
	return given, operands
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// flagKey returns the key of a flag's value. Flags that are not inputs have
// keys that no environment variable can set.
func (in Input) flagKey() string {
	if in.FlagOnly {
		return "FLAG_" + strings.ToUpper(strings.ReplaceAll(in.Name, "-", ""))
	}
	return in.Key()
}

// inputNames returns the names of the inputs and, if withFlags is set, of the
// flags that are not inputs.
func inputNames(withFlags bool) []string {
	var names []string
	for _, in := range Inputs {
		if withFlags || !in.FlagOnly {
			names = append(names, in.Name)
		}
	}
	return names
}
