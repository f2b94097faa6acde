package approval

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"acrpromote/internal/rule"
)

// PlanAttachment is the type of the attachment with which a step publishes a plan: the
// lines that the plan's code covers. Its name is the code.
const PlanAttachment = "acrpromote.plan"

// StalePlan begins the reason of a refusal where an approver quotes the code of
// another plan.
const StalePlan = "the plan is stale"

// codeLength is the number of characters of an approval code. A shorter code
// could be forged, and every comment contains an empty one.
const codeLength = 24

// Quotes reports whether a comment quotes an approval code. It ignores case,
// spaces and dashes, and nothing else.
func Quotes(comment, code string) bool {
	code = normalizeCode(code)
	return len(code) == codeLength && strings.Contains(normalizeCode(comment), code)
}

// normalizeCode removes spaces and dashes and converts ASCII letters to upper
// case. It keeps other letters, because Unicode maps the long s to S.
func normalizeCode(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.Is(unicode.Pd, r):
			return -1
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		}
		return r
	}, s)
}

// formatCode formats a code in groups of four, as seal shows it.
func formatCode(code string) string {
	code = normalizeCode(code)
	var groups []string
	for len(code) > 4 {
		groups, code = append(groups, code[:4]), code[4:]
	}
	return strings.Join(append(groups, code), "-")
}

// judgeCode checks that a candidate's comment quotes the code, and that the plan was
// this one when they approved.
func (j *judge) judgeCode(c *candidate) {
	switch {
	case j.r.Code == "":
	case j.r.CodeOf == CodeOfImage && !Quotes(c.comment, j.r.Code):
		c.fail(rule.ApprovalCode, "wrote %s", quoted(c.comment))
	case j.r.CodeOf == CodeOfImage:
	case Quotes(c.comment, j.r.Code) && known(c.decided).Before(j.r.CodeSince):
		c.fail(rule.ApprovalCode, "%s, before this was the plan", c.when())
	case Quotes(c.comment, j.r.Code):
	case Quotes(c.comment, j.r.OtherCode):
		c.fail(rule.ApprovalCode, "wrote %s, which quotes the code of the image and not that of the plan", quoted(c.comment))
	case len(codesIn(c.comment)) > 0:
		c.fail(rule.ApprovalCode, "wrote %s, which quotes the code of another plan", quoted(c.comment))
	default:
		c.fail(rule.ApprovalCode, "wrote %s", quoted(c.comment))
	}
}

// refuseCode refuses because of the people whose comments do not quote the code.
func (j *judge) refuseCode(persons, again string) {
	code := formatCode(j.r.Code)
	if j.r.Code == UnknownCode {
		code = "(" + UnknownCode + ")"
	}
	if j.r.CodeOf == CodeOfImage {
		j.refuse(rule.ApprovalCode, j.guards(), fmt.Sprintf("the approver's own comment does not quote the approval code %s: %s", code, persons),
			again+"the approver check the image and quote the code "+code+" in the comment.")
		return
	}
	reason := "the approver's own comment does not quote the plan's code"
	if len(j.quoted()) > 0 {
		reason = StalePlan + ": the comment quotes the code of another plan, not"
	}
	j.refuse(rule.ApprovalCode, j.guards(), fmt.Sprintf("%s %s: %s", reason, code, persons),
		again+"the approver check the plan and quote its code "+code+" in the comment.")
}

// quoted returns the other codes that the comments of those quote who only fail
// because they do not quote the plan's.
func (j *judge) quoted() []string {
	var codes []string
	if j.r.CodeOf != CodeOfPlan {
		return nil
	}
	for _, c := range j.candidates {
		if len(c.fails) != 1 || c.fails[0].rule != rule.ApprovalCode {
			continue
		}
		for _, code := range codesIn(c.comment) {
			if code != formatCode(j.r.OtherCode) && code != formatCode(j.r.Code) && !slices.Contains(codes, code) {
				codes = append(codes, code)
			}
		}
	}
	return codes
}

// maxCodes limits the codes that are looked for in one comment.
const maxCodes = 4

// codesIn returns what has the form of a code in a comment: 24 characters of its
// alphabet, in one word or in six of four. A digit must be among them: six words of
// four letters are hardly a code.
func codesIn(comment string) []string {
	var words []string // "" stands for what may not be within a code
	var word strings.Builder
	for _, r := range comment + " " {
		switch {
		case unicode.IsSpace(r), unicode.Is(unicode.Pd, r):
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
		case strings.ContainsRune(alphabet, unicode.ToUpper(r)) && r < unicode.MaxASCII:
			word.WriteRune(unicode.ToUpper(r))
		default:
			words = append(words, word.String(), "")
			word.Reset()
		}
	}
	var codes []string
	for i := range words {
		joined := words[i]
		for _, next := range words[i+1 : min(i+6, len(words))] {
			if len(joined)%4 != 0 || len(next) != 4 || len(words[i]) != 4 {
				break
			}
			joined += next
		}
		if len(joined) == codeLength && strings.ContainsAny(joined, "0123456789") && !slices.Contains(codes, formatCode(joined)) && len(codes) < maxCodes {
			codes = append(codes, formatCode(joined))
		}
	}
	return codes
}

// alphabet is the alphabet of codes.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
