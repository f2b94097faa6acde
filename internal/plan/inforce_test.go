package plan

import (
	"fmt"
	"reflect"
	"testing"

	"acrpromote/internal/topology"
)

func TestRulesInForce(t *testing.T) {
	yes, no := true, false
	flow := &topology.Flow{Name: "released", Require: topology.Require{Approval: topology.Approval{MinApprovers: 2, Environment: "{tag}", AuthorCanApprove: &no}}, OnPartial: topology.Warn}
	route := func(flow *topology.Flow, in topology.Inputs, action, tag string) Route {
		rules, err := flow.Tighten(tag, in, Defaults(action))
		if err != nil {
			t.Fatal(err)
		}
		return Route{Flow: flow, Rules: rules}
	}
	find := func(all []InForce, key string) InForce {
		for _, f := range all {
			if f.Key == key {
				return f
			}
		}
		return InForce{}
	}
	for _, c := range []struct {
		name string
		in   topology.Inputs
		key  string
		want InForce
	}{
		{"of the flow", topology.Inputs{}, "minApprovers", InForce{Value: 2, From: FromFlow}},
		{"an input that says the same", topology.Inputs{MinApprovers: 2}, "minApprovers", InForce{Value: 2, From: FromFlow}},
		{"an input that is laxer", topology.Inputs{MinApprovers: 1}, "minApprovers", InForce{Value: 2, From: FromFlow}},
		{"an input that is stricter", topology.Inputs{MinApprovers: 3}, "minApprovers", InForce{Value: 3, From: FromInput}},
		{"neither", topology.Inputs{}, "requesterCanApprove", InForce{Value: false, From: FromDefault}},
		{"an input that would relax the default", topology.Inputs{RequesterCanApprove: &yes}, "requesterCanApprove", InForce{Value: false, From: FromDefault}},
		{"an input that says the default", topology.Inputs{RequesterCanApprove: &no}, "requesterCanApprove", InForce{Value: false, From: FromInput}},
		{"false in the flow", topology.Inputs{AuthorCanApprove: &yes}, "authorCanApprove", InForce{Value: false, From: FromFlow}},
		{"with the tag", topology.Inputs{}, "environment", InForce{Value: "1.0", From: FromFlow}},
		{"the lock of an input", topology.Inputs{Lock: topology.LockTag}, "lock", InForce{Value: "tag", From: FromInput}},
		{"of the action", topology.Inputs{}, "sealed", InForce{Value: true, From: FromDefault}},
		{"an input that would relax the action", topology.Inputs{Sealed: &no}, "sealed", InForce{Value: true, From: FromDefault}},
		{"a warning that the flow allows", topology.Inputs{OnPartial: topology.Warn}, "onPartial", InForce{Value: "warn", From: FromFlow}},
		{"a failure that the input requires", topology.Inputs{OnPartial: topology.Fail}, "onPartial", InForce{Value: "fail", From: FromInput}},
		{"nothing", topology.Inputs{}, "checks", InForce{Value: []any{}, From: FromDefault}},
	} {
		w := Wanted{Action: InvertedPush, Routes: []Route{route(flow, c.in, InvertedPush, "1.0")}}
		c.want.Key, c.want.Flow = c.key, "released"
		if got := find(RulesInForce([]Wanted{w}, c.in), c.key); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}

	// The values of many images are each named once, and their number is limited.
	var images []Wanted
	for i := range 500 {
		w := Wanted{Action: Promote}
		for range 20 {
			w.Routes = append(w.Routes, route(flow, topology.Inputs{}, Promote, fmt.Sprint(i/2)))
		}
		images = append(images, w)
	}
	all := RulesInForce(images, topology.Inputs{})
	if n := len(find(all, "environment").Others); n != mostOthers {
		t.Errorf("%d other environments", n)
	}
	if n := len(find(all, "minApprovers").Others); n != 0 {
		t.Errorf("%d other numbers of approvers", n)
	}
	if got := RulesInForce(nil, topology.Inputs{}); len(got) > 0 {
		t.Errorf("without images: %v", got)
	}
}
