package agent

import (
	"slices"
	"strings"
)

// Type is the type of an input's value.
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

// The actions. Those in TaskActions are actions of the task; the others exist only
// at a prompt.
const (
	Seal         = "seal"
	Promote      = "promote"
	InvertedPush = "invertedPush"
	Plan         = "plan"
	Verify       = "verify"
	Audit        = "audit"
	// VerifyReceipt reads receipts from an image's own registry.
	VerifyReceipt = "verifyReceipt"
	// Trace reads the life of an image from registries.
	Trace = "trace"
	// Doctor reads where the configuration of Azure is wider than the flows need.
	Doctor = "doctor"
	// Recall withdraws an image from registries.
	Recall = "recall"
	Check  = "check"
	Code   = "code"
	// Report shows stored results in other formats.
	Report     = "report"
	Init       = "init"
	Completion = "completion"
	Help       = "help"
	Version    = "version"
)

// otherActions has the actions that take no image. All but check exist only at a
// prompt.
var otherActions = []string{Check, Code, Report, Init, Completion, Help, Version}

// otherInputs has the inputs of Actions that other actions use.
var otherInputs = map[string][]string{
	Recall: {"action", "azureSubscription", "targetSubscription", "registryConnections", "source", "targets", "flowFile", "flow", "environment", "approvalStage", "approval",
		"minApprovers", "requesterCanApprove", "authorCanApprove", "approvers", "approvalMaxAge", "commentPattern", "approvalCode", "postDeployment", "digest",
		"receiptKey", "receiptConnection", "receiptKeys", "run", "dryRun", "publish", "publishTests", "reportFolder", "plain-http", "output"},
	Trace:         {"action", "azureSubscription", "targetSubscription", "registryConnections", "source", "targets", "flowFile", "publish", "publishTests", "reportFolder", "plain-http", "output"},
	Doctor:        {"action", "azureSubscription", "targetSubscription", "source", "targets", "flowFile", "publish", "publishTests", "reportFolder", "output"},
	VerifyReceipt: {"action", "azureSubscription", "registryConnections", "source", "publish", "publishTests", "reportFolder", "plain-http", "output"},
	Check:         {"action", "flowFile", "output"},
	Code:          {"action", "output"},
	Report:        {"action"},
	Init:          {"action", "environment", "minApprovers", "branches"},
	Completion:    {"action"},
}

// argument is an argument without a flag that an action takes at a prompt.
type argument struct {
	form     string // as shown in help
	optional bool
	several  bool
}

// arguments has the actions that take an argument without a flag.
var arguments = map[string]argument{
	Check:      {form: "FILE", optional: true},
	Code:       {form: "sha256:… | REPOSITORY@sha256:… … | FILE", several: true},
	Report:     {form: "RESULT.json …", several: true},
	Completion: {form: "SHELL"},
	Trace:      {form: "IMAGE", optional: true},
	Recall:     {form: "IMAGE", optional: true},
	Help:       {form: "TOPIC", optional: true},
}

// Actions lists the actions that take an image, in the order of the documentation.
var Actions = []string{Seal, Promote, InvertedPush, Plan, Verify, Audit}

// receiptActions has the actions that read receipts. They take an image, and judge no
// rules of a flow.
var receiptActions = []string{VerifyReceipt, Trace}

// TaskActions lists the actions of the task, and AllActions those at a prompt.
var (
	TaskActions = slices.Concat(Actions, receiptActions, []string{Recall, Doctor, Check})
	AllActions  = slices.Concat(Actions, receiptActions, []string{Recall, Doctor}, otherActions)
)

var (
	moveActions     = []string{Promote, InvertedPush, Plan, Verify, Audit}
	approvalActions = []string{Promote, InvertedPush, Plan, Verify}
	// expectationActions take an approval that a run has, or that a receipt shows.
	expectationActions = slices.Concat(approvalActions, []string{VerifyReceipt})
)

// Input is an input of the task and the flag of the same name.
type Input struct {
	Name    string
	Type    Type
	Picks   []string // the values of a pick
	Default string   // if empty, there is none or it depends on the action (see Config's methods)
	Actions []string // the actions that use it
	Help    string   // one or two sentences
	// FlagOnly is set for flags that are not inputs.
	FlagOnly bool
}

// Inputs is the table of inputs that drives flags, help and validation, in the
// order of the documentation.
var Inputs = []Input{
	{Name: "action", Type: Pick, Picks: TaskActions, Actions: Actions,
		Help: "The action: seal a release candidate, promote an image (to another tag or, with a flow file, to a more trusted registry), push it down to less trusted registries (invertedPush), plan either of these before its approval, verify that an action would be executed, audit that everything has arrived, verify the receipt of an image (verifyReceipt), trace the life of an image, recall an image, find where Azure's configuration is wider than the flows need (doctor), or check a flow file."},
	{Name: "azureSubscription", Type: ARM, Actions: Actions,
		Help: "Azure service connection for the source, and for the targets unless targetSubscription is set."},
	{Name: "targetSubscription", Type: ARM, Actions: moveActions,
		Help: "Azure service connection for the targets, so that no identity needs rights on both sides."},
	{Name: "registryConnections", Type: DockerLines, Actions: Actions,
		Help: "Docker registry service connections, matched to registries by host. Each takes precedence over the two Azure connections for its host."},
	{Name: "source", Type: Text, Actions: Actions,
		Help: "The image: host/repository:tag, or host/repository@sha256:… (then no tag is created unless a target names one). For doctor without a flow file: the host of the PROD registry."},
	{Name: "targets", Type: Lines, Actions: moveActions,
		Help: "Where the image goes, one target per line: host, host/repository or host/repository:tag. Omitted parts are taken from the source. For trace and recall: where to look for the image. For doctor without a flow file: the hosts of the less trusted registries."},
	{Name: "flowFile", Type: Text, Actions: Actions,
		Help: "The flow file with the rules: which images may go from where to where, and whose approval that takes."},
	{Name: "flow", Type: Text, Actions: Actions,
		Help: "The name of a flow in the flow file. audit with a flow, and without source and images, checks all that the flow covers."},
	{Name: "images", Type: Lines, Actions: Actions,
		Help: "With a flow: a set of images, one entry per line: repository:tag, repository@digest, or patterns for both."},
	{Name: "imagesFrom", Type: Path, Actions: Actions,
		Help: "With a flow: a file that lists the images, or rendered Kubernetes manifests."},
	{Name: "environment", Type: Text, Actions: expectationActions,
		Help: "The protected resource whose approval counts: the name of an environment, or endpoint:NAME for a service connection. #7 names an environment by its id."},
	{Name: "approvalStage", Type: Text, Actions: approvalActions,
		Help: "Another stage of this run or release whose approval counts. Empty: this stage or, for plan, a later stage that uses the environment."},
	{Name: "approval", Type: Pick, Picks: []string{"manual", "automated", "any", "none"}, Default: "manual", Actions: approvalActions,
		Help: "The kind of approval. automated needs a flow; without a flow, any means manual; none is allowed only by a flow, or at a prompt outside any run."},
	{Name: "minApprovers", Type: Count, Default: "1", Actions: expectationActions,
		Help: "How many different people must have approved. For verifyReceipt there is no default."},
	{Name: "requesterCanApprove", Type: Boolean, Default: "false", Actions: approvalActions,
		Help: "Whether the approval of the person who started the run counts."},
	{Name: "authorCanApprove", Type: Boolean, Default: "true", Actions: approvalActions,
		Help: "Whether the approval of the person who pushed the source version counts. The author is taken from the server's record."},
	{Name: "approvers", Type: Lines, Actions: approvalActions,
		Help: "Whose approval counts, one entry per line: unique names, descriptors or groups. A group matches if the approval was assigned to it."},
	{Name: "approvalMaxAge", Type: Span, Actions: approvalActions,
		Help: "The maximum age of an approval: 72h, 90m, or in days, such as 3d."},
	{Name: "commentPattern", Type: Pattern, Actions: approvalActions,
		Help: "A regular expression (RE2) that must match somewhere in the approver's comment, such as a change number."},
	{Name: "approvalCode", Type: Pick, Picks: []string{"true", "image", "plan", "false"}, Default: "false", Actions: approvalActions,
		Help: "The code that the approver's comment must quote. true or image: the code that seal showed for exactly this image or set. plan: the code of the plan, which covers the targets, the locks and what is attached too."},
	{Name: "sealed", Type: Boolean, Actions: approvalActions,
		Help: "Whether the source must have been sealed before it was approved. Default: true for invertedPush, false otherwise."},
	{Name: "postDeployment", Type: Boolean, Default: "false", Actions: approvalActions,
		Help: "In a classic release: whether the post-deployment approval is required as well."},
	{Name: "digest", Type: Text, Actions: Actions,
		Help: "The digest that the source's tag must resolve to: sha256:… ."},
	{Name: "lock", Type: Pick, Picks: []string{"none", "tag", "image"}, Actions: []string{Seal, Promote, InvertedPush, Plan, Verify},
		Help: "What to lock: at the targets or, for seal, at the source. tag: the tag against write and delete, the manifest and its children against delete. image: these against write too. Default: tag for seal, none otherwise."},
	{Name: "moveTag", Type: Boolean, Default: "false", Actions: []string{Promote, Plan, Verify},
		Help: "Within one registry: whether the tag may move to another digest."},
	{Name: "referrers", Type: Boolean, Default: "true", Actions: Actions,
		Help: "Whether to copy what is attached to the image (signatures, SBOMs)."},
	{Name: "deep", Type: Boolean, Default: "false", Actions: []string{Promote, InvertedPush, Plan, Audit},
		Help: "Whether to check every blob at the target and repair what is missing, instead of relying on the manifest."},
	{Name: "onPartial", Type: Pick, Picks: []string{"fail", "warn"}, Default: "fail", Actions: moveActions,
		Help: "How the step ends if some targets are done and others are not."},
	{Name: "receiptKey", Type: Text, Actions: []string{Seal, Promote, InvertedPush, Plan, Verify},
		Help: "The key that signs receipts: the URL of a key in Key Vault, or the path of a PEM file with a private key. Receipts show who approved, and are attached to the image at every target. Empty: the flow's key, or no receipts."},
	{Name: "receiptConnection", Type: ARM, Actions: []string{Seal, Promote, InvertedPush, Plan, Verify, Audit, VerifyReceipt, Trace},
		Help: "Azure service connection that signs in to the Key Vault of receiptKey or receiptKeys. Empty: targetSubscription, or else azureSubscription."},
	{Name: "receiptFormat", Type: Pick, Picks: []string{"dsse", "bundle"}, Default: "dsse", Actions: []string{Seal, Promote, InvertedPush, Plan, Verify},
		Help: "How receipts are stored. dsse: as envelopes that other tools leave alone. bundle: as Sigstore bundles, which cosign finds; an image with older signatures of cosign cannot have one."},
	{Name: "receiptAtSource", Type: Boolean, Default: "false", Actions: approvalActions,
		Help: "Whether a receipt is attached to the image at the source too. It leaves nothing out."},
	{Name: "receiptKeys", Type: Lines, Actions: slices.Concat(approvalActions, []string{Audit}, receiptActions),
		Help: "The public keys whose receipts count, one per line: the path of a PEM file, or the URL of a key in Key Vault. One signature by one of them is enough. For audit, which reads receipts of a whole flow, and with before, empty means the flow's key."},
	{Name: "run", Type: Count, Actions: []string{Trace},
		Help: "The ID of a run: all images in the named repositories that it promoted, as their receipts say; for recall, as receipts say that are signed by the key of receipts or by one of receiptKeys."},
	{Name: "before", Type: Count, Actions: approvalActions,
		Help: "For a rollback: the ID of a run. The image is then the one that the tag in source pointed to before this run moved it, by signed receipts."},
	{Name: "reason", Type: Text, Actions: []string{Recall},
		Help: "Why the image is recalled, or why that is lifted. It is part of the record that is attached to the image."},
	{Name: "lift", Type: Boolean, Default: "false", Actions: []string{Recall},
		Help: "Whether to lift the recall of the image: it can be read again."},
	{Name: "project", Type: Text, Actions: []string{VerifyReceipt},
		Help: "The Azure DevOps project whose run must have promoted the image."},
	{Name: "rules", Type: Pick, Picks: []string{"verified"}, Actions: []string{VerifyReceipt},
		Help: "verified: the receipt must show that the rules were read from a place that the promoting pipeline cannot change."},
	{Name: "from", Type: Text, Actions: []string{VerifyReceipt},
		Help: "Where the image must have come from: host or host/repository."},
	{Name: "branches", Type: Lines, Actions: []string{VerifyReceipt},
		Help: "Full refs of branches, one per line, such as refs/heads/main or refs/heads/release/*. For verifyReceipt: the branches whose runs count. For init: those that release candidates are built from; empty: refs/heads/main."},
	{Name: "flowHashes", Type: Lines, Actions: []string{VerifyReceipt},
		Help: "The SHA-256 hashes of the flow files that may have been in force, one per line, in hexadecimal."},
	{Name: "receiptMaxAge", Type: Span, Actions: []string{VerifyReceipt},
		Help: "The maximum age of a receipt: 72h, 90m, or in days, such as 30d."},
	{Name: "failOn", Type: Pick, Picks: []string{"low", "medium", "high"}, Default: "high", Actions: []string{Doctor},
		Help: "The severity of a finding from which on the step fails. What could not be read counts as high."},
	{Name: "dryRun", Type: Boolean, Default: "false", Actions: Actions,
		Help: "Do everything except write."},
	{Name: "publish", Type: Boolean, Actions: Actions,
		Help: "Whether to publish the report with the run, as a page and as result.json. Default: an artifact for seal, promote, invertedPush, plan and recall, and for every action what the tab on the run's page shows; false switches both off, true is an artifact for every action. A classic release has no artifact."},
	{Name: "publishTests", Type: Boolean, Default: "false", Actions: Actions,
		Help: "Whether to show the result on the run's Tests tab: each image at each target as a test, and each rule that is not met as a failure."},
	{Name: "reportFolder", Type: Path, Actions: Actions,
		Help: "The folder for result.json and the summary. Empty: the agent's temporary folder; at a prompt, no files are written."},
	{Name: "html", Type: Boolean, Actions: []string{Report}, FlagOnly: true,
		Help: "For report: write one page of HTML that needs nothing from elsewhere: the flow, the timeline, rules, images and traffic."},
	{Name: "markdown", Type: Boolean, Actions: []string{Report}, FlagOnly: true,
		Help: "For report: write the summary of the run's page, in Markdown."},
	{Name: "junit", Type: Boolean, Actions: []string{Report}, FlagOnly: true,
		Help: "For report: write JUnit XML: each image at each target is a test case, and each rule that is not met a failure."},
	{Name: "sarif", Type: Boolean, Actions: []string{Report}, FlagOnly: true,
		Help: "For report: write SARIF 2.1.0, for code scanning and editors: refusals, findings, and mistakes in flow files."},
	{Name: "json", Type: Boolean, Actions: []string{Report}, FlagOnly: true,
		Help: "For report: write the result as it was read or, of several, a list of them."},
	{Name: "production", Type: Text, Actions: []string{Init}, FlagOnly: true,
		Help: "For init: the host name of the PROD registry."},
	{Name: "development", Type: Lines, Actions: []string{Init}, FlagOnly: true,
		Help: "For init: the registries that released images go down to, separated by commas. May be repeated."},
	{Name: "movingTags", Type: Lines, Actions: []string{Init}, FlagOnly: true,
		Help: "For init: tags of the PROD registry that move from image to image, separated by commas, such as test,stage,production. May be repeated."},
	{Name: "repositories", Type: Lines, Actions: []string{Init}, FlagOnly: true,
		Help: "For init: patterns of the repositories that are released, separated by commas. Empty: all. May be repeated."},
	{Name: "folder", Type: Path, Actions: []string{Init}, FlagOnly: true,
		Help: "For init: the folder for the files. Empty: the current folder. Existing files are not overwritten."},
	{Name: "plain-http", Type: Lines, Actions: Actions, FlagOnly: true,
		Help: "At a prompt: a host to connect to over HTTP. May be repeated."},
	{Name: "output", Type: Pick, Picks: []string{"text", "json"}, Default: "text", Actions: Actions, FlagOnly: true,
		Help: "What to write to standard output: text, or result.json."},
}

// Key returns the environment variable in which the agent passes the input: its
// name in upper case, with '.' and ' ' replaced by '_'.
func (in Input) Key() string { return "INPUT_" + variableKey(in.Name) }

// UsedBy reports whether the action uses this input.
func (in Input) UsedBy(action string) bool {
	return slices.Contains(in.Actions, action) || slices.Contains(otherInputs[action], in.Name)
}

// isSwitch reports whether true and false are values of the input. A flag without a
// value is then true.
func (in Input) isSwitch() bool {
	return in.Type == Boolean || slices.Contains(in.Picks, "true")
}

// isSwitchValue reports whether v is a value of an input for which isSwitch holds.
func (in Input) isSwitchValue(v string) bool {
	return strings.EqualFold(v, "true") || strings.EqualFold(v, "false") || slices.Contains(in.Picks, v)
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

// variableKey maps the name of a variable to that of an environment variable, as
// the agent does (microsoft/azure-pipelines-agent, VarUtil).
func variableKey(name string) string {
	return strings.ToUpper(strings.NewReplacer(".", "_", " ", "_").Replace(name))
}
