package agent

import (
	"fmt"
	"strings"

	"acrpromote/internal/levenshtein"
)

// flags reads a command line: the action first, then flags named as the
// inputs. The answer is keyed as the environment is.
func flags(args []string, wrong *Misuse) (given map[string]string, topic string) {
	given = map[string]string{}
	usage := "`acrpromote help` lists the actions and flags."
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		given["INPUT_ACTION"] = args[0]
		args = args[1:]
		if given["INPUT_ACTION"] == Help && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
			topic, args = args[0], args[1:]
		}
	}
	seen := map[string]bool{}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch arg {
		case "--help", "-h":
			if topic = given["INPUT_ACTION"]; topic == Help || topic == Version {
				topic = ""
			}
			given["INPUT_ACTION"] = Help
			continue
		case "--version":
			given["INPUT_ACTION"] = Version
			continue
		}
		name, isFlag := strings.CutPrefix(arg, "--")
		if !isFlag || name == "" {
			wrong.add(arg, fmt.Sprintf("The argument %s stands alone.", quote(arg)),
				"The action comes first, everything else is --flag value. "+usage)
			continue
		}
		name, value, joined := strings.Cut(name, "=")
		in, known := inputNamed(name)
		if !known {
			remedy := usage
			if near, ok := levenshtein.Nearest(name, inputNames(true)); ok {
				remedy = fmt.Sprintf("Did you mean --%s? %s", near, usage)
			}
			wrong.add("--"+name, fmt.Sprintf("There is no flag %s.", quote("--"+name)), remedy)
			// The value of an unknown flag is not to be told as a second mistake.
			if !joined && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
				args = args[1:]
			}
			continue
		}
		if !joined {
			switch next := first(args); {
			case in.Type == Boolean && !strings.EqualFold(next, "true") && !strings.EqualFold(next, "false"):
				value = "true"
			case len(args) == 0 || strings.HasPrefix(next, "--"):
				wrong.add("--"+name, fmt.Sprintf("The flag --%s has no value.", name),
					fmt.Sprintf("Write --%s VALUE, or --%s=VALUE where it begins with a dash.", name, name))
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
			wrong.add("--"+name, fmt.Sprintf("--%s is given twice with different values.", name), "Give it once.")
		}
		seen[name] = true
	}
	return given, topic
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// flagKey is where a flag's value is looked up. Flags that are no inputs have
// keys of their own, which no environment can fill.
func (in Input) flagKey() string {
	if in.FlagOnly {
		return "FLAG_" + strings.ToUpper(strings.ReplaceAll(in.Name, "-", ""))
	}
	return in.Key()
}

func inputNames(withFlags bool) []string {
	var names []string
	for _, in := range Inputs {
		if withFlags || !in.FlagOnly {
			names = append(names, in.Name)
		}
	}
	return names
}
