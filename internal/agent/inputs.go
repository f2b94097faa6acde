package agent

import (
	"strings"

	"acrpromote/internal/spelling"
)

// Type is what an input's value has to look like.
type Type string

const (
	Text        Type = "string"
	Lines       Type = "lines"
	Boolean     Type = "boolean"
	Count       Type = "integer" // at least 1
	Span        Type = "duration"
	Pick        Type = "pick"
	Pattern     Type = "RE2"
	Path        Type = "path"
	ARM         Type = "connectedService:AzureRM"
	DockerLines Type = "connectedService:dockerregistry" // several, separated by commas
)

// Actions of the program. The first five are the task's; the others exist at a
// prompt alone.
const (
	Seal         = "seal"
	Promote      = "promote"
	InvertedPush = "invertedPush"
	Verify       = "verify"
	Audit        = "audit"
	Check        = "check"
	Init         = "init"
	Help         = "help"
	Version      = "version"
)

// prompted are the actions that exist at a prompt alone.
var prompted = []string{Check, Init, Help, Version}

// Actions lists the five actions of the task, in the order of the documentation.
var Actions = []string{Seal, Promote, InvertedPush, Verify, Audit}

var (
	moving   = []string{Promote, InvertedPush, Verify, Audit}
	approved = []string{Promote, InvertedPush, Verify}
)

// Input is one input of the task and, under the same name, one flag.
type Input struct {
	Name    string
	Type    Type
	Picks   []string // the values of a pick
	Default string   // "" = none, or it depends on the action (see Config's methods)
	Actions []string // the actions that take it
	Help    string   // one sentence or two, for a person who meets it first
	// FlagOnly inputs exist at a prompt alone.
	FlagOnly bool
}

// Inputs is the one table from which flags, help and the checks of types are
// driven, in the order of the documentation.
var Inputs = []Input{
	{Name: "action", Type: Pick, Picks: Actions, Actions: Actions,
		Help: "What to do: seal a release candidate, promote it (by a further tag, or by a flow to a registry of more trust), push it to less trusted registries (invertedPush), or tell whether that would be done (verify) or has arrived (audit)."},
	{Name: "azureSubscription", Type: ARM, Actions: Actions,
		Help: "The Azure service connection for the source, and for targets without one of their own."},
	{Name: "targetSubscription", Type: ARM, Actions: moving,
		Help: "The Azure service connection for the targets, so that no identity needs both sides."},
	{Name: "registryConnections", Type: DockerLines, Actions: Actions,
		Help: "Docker registry service connections, matched to registries by host; each wins over the two above for its host."},
	{Name: "source", Type: Text, Actions: Actions,
		Help: "The image: host/repository:tag, or host/repository@sha256:… (then no tag is created unless a target names one)."},
	{Name: "targets", Type: Lines, Actions: moving,
		Help: "Where to, one a line: host, host/repository or host/repository:tag; what is left out is as in the source."},
	{Name: "flowFile", Type: Text, Actions: Actions,
		Help: "The file with the rules: which images may flow from where to where, and whose approval that takes."},
	{Name: "flow", Type: Text, Actions: Actions,
		Help: "Which flow of the flow file."},
	{Name: "images", Type: Lines, Actions: Actions,
		Help: "With a flow: repository:tag, repository@digest, or patterns over both, one a line."},
	{Name: "imagesFrom", Type: Path, Actions: Actions,
		Help: "With a flow: a file that lists images, or rendered Kubernetes manifests."},
	{Name: "environment", Type: Text, Actions: approved,
		Help: "The protected resource whose approval counts: an environment's name, or endpoint:NAME for a service connection."},
	{Name: "approvalStage", Type: Text, Actions: approved,
		Help: "Another stage of this run or release whose approval counts; empty is this stage."},
	{Name: "approval", Type: Pick, Picks: []string{"manual", "automated", "any", "none"}, Default: "manual", Actions: approved,
		Help: "The kind of approval. automated needs a flow, and without one any means manual; none only where a flow says so, or at a prompt outside any run."},
	{Name: "minApprovers", Type: Count, Default: "1", Actions: approved,
		Help: "How many distinct persons must have approved."},
	{Name: "requesterCanApprove", Type: Boolean, Default: "false", Actions: approved,
		Help: "Whether the approval of whoever started the run counts."},
	{Name: "authorCanApprove", Type: Boolean, Default: "true", Actions: approved,
		Help: "Whether the approval of whoever pushed the source version counts, by the server's record."},
	{Name: "approvers", Type: Lines, Actions: approved,
		Help: "Whose approval counts, one a line: unique names or descriptors; a group matches the approver that the step was assigned to."},
	{Name: "approvalMaxAge", Type: Span, Actions: approved,
		Help: "How old an approval may be: 72h, 90m, or days as 3d."},
	{Name: "commentPattern", Type: Pattern, Actions: approved,
		Help: "A regular expression (RE2) that the approver's comment must contain, such as a change number."},
	{Name: "approvalCode", Type: Boolean, Default: "false", Actions: approved,
		Help: "Whether the approver's comment must quote the code that seal showed for exactly this image."},
	{Name: "sealed", Type: Boolean, Actions: approved,
		Help: "Whether the source must have been sealed before it was approved; true for invertedPush, else false."},
	{Name: "postDeployment", Type: Boolean, Default: "false", Actions: approved,
		Help: "In a classic release: also require the post-deployment approval."},
	{Name: "digest", Type: Text, Actions: Actions,
		Help: "What the source's tag must resolve to: sha256:… ."},
	{Name: "lock", Type: Pick, Picks: []string{"none", "tag", "image"}, Actions: []string{Seal, Promote, InvertedPush},
		Help: "What to lock at the targets. tag: the tag against write and delete, the manifest and its children against delete; image: these against write too. tag for seal, else none."},
	{Name: "moveTag", Type: Boolean, Default: "false", Actions: []string{Promote, Verify},
		Help: "Inside one registry: the tag may move to another digest."},
	{Name: "referrers", Type: Boolean, Default: "true", Actions: Actions,
		Help: "Whether what is attached to the image (signatures, SBOMs) goes along."},
	{Name: "deep", Type: Boolean, Default: "false", Actions: []string{Promote, InvertedPush, Audit},
		Help: "Look for every blob at the target, and mend what is missing, instead of trusting a manifest that is there."},
	{Name: "onPartial", Type: Pick, Picks: []string{"fail", "warn"}, Default: "fail", Actions: moving,
		Help: "How the step ends where some targets are done and others are not."},
	{Name: "dryRun", Type: Boolean, Default: "false", Actions: Actions,
		Help: "Everything but writes."},
	{Name: "reportFolder", Type: Path, Actions: Actions,
		Help: "Where result.json and the summary go; empty is the agent's temporary folder, and nowhere at a prompt."},
	{Name: "production", Type: Text, Actions: []string{Init}, FlagOnly: true,
		Help: "For init: the PROD registry's host name."},
	{Name: "development", Type: Lines, Actions: []string{Init}, FlagOnly: true,
		Help: "For init: the registries that released images go down to. May be repeated."},
	{Name: "movingTags", Type: Lines, Actions: []string{Init}, FlagOnly: true,
		Help: "For init: tags of the PROD registry that move from image to image, as test, stage, production. May be repeated."},
	{Name: "repositories", Type: Lines, Actions: []string{Init}, FlagOnly: true,
		Help: "For init: patterns of the repositories that are released; empty is all. May be repeated."},
	{Name: "branches", Type: Lines, Actions: []string{Init}, FlagOnly: true,
		Help: "For init: the full refs that release candidates are built on; empty is refs/heads/main. May be repeated."},
	{Name: "folder", Type: Path, Actions: []string{Init}, FlagOnly: true,
		Help: "For init: where the files go; empty is the current folder. Nothing that is there is overwritten."},
	{Name: "plain-http", Type: Lines, Actions: Actions, FlagOnly: true,
		Help: "At a prompt: this host speaks HTTP. May be repeated."},
	{Name: "output", Type: Pick, Picks: []string{"text", "json"}, Default: "text", Actions: Actions, FlagOnly: true,
		Help: "What goes to standard output: text for people, or result.json."},
}

// Key is the environment variable under which the agent hands over an input of
// this name: upper case, with '.' and ' ' made '_'.
func (in Input) Key() string { return "INPUT_" + variableKey(in.Name) }

// Takes tells whether the action takes this input.
func (in Input) Takes(action string) bool {
	for _, a := range in.Actions {
		if a == action {
			return true
		}
	}
	return false
}

func (in Input) isList() bool { return in.Type == Lines || in.Type == DockerLines }

func inputNamed(name string) (Input, bool) {
	for _, in := range Inputs {
		if in.Name == name {
			return in, true
		}
	}
	return Input{}, false
}

// variableKey is the agent's own mapping of a variable's name to that of an
// environment variable (microsoft/azure-pipelines-agent, VarUtil).
func variableKey(name string) string {
	return strings.ToUpper(strings.NewReplacer(".", "_", " ", "_").Replace(name))
}

// nearest returns the candidate with the smallest edit distance to name,
// compared without case.
func nearest(name string, candidates []string) string {
	best, least := "", 1<<30
	for _, c := range candidates {
		if d := spelling.Distance(name, c); d < least {
			best, least = c, d
		}
	}
	return best
}
