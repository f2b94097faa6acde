package main_test

import (
	"strconv"
	"testing"
)

// TestRollbackByReceipt moves a tag back to what it pointed to before a run, as signed
// receipts say, after a plan that shows it.
func TestRollbackByReceipt(t *testing.T) {
	env, first := ready(t)
	path, _ := env.keyFile()
	production := prodHost + "/" + cart + ":production"
	in := inputs{"action": "promote", "source": source, "targets": production, "environment": "Production", "moveTag": "true", "receiptKey": path}
	env.task(in).want("done")
	firstRun := strconv.Itoa(env.run.ID())
	env.queue()
	next := pushImage(env.prod, cart, "1.4.3", 5, 2, 2048)
	env.approve(manager, "")
	env.task(in.with("source", prodHost+"/"+cart+":1.4.3")).want("done").wantStates("retagged")
	run := strconv.Itoa(env.run.ID())
	if env.prod.TagDigest(cart, "production") != next.Digest {
		t.Fatal("the tag has not moved")
	}
	env.queue()
	env.approve(manager, "back")
	back := in.with("source", production, "before", run)
	o := env.task(back.with("action", "plan")).want("done").wantStates("planned")
	if target := o.at("images", 0, "targets", 0).(map[string]any); o.at("images", 0, "digest") != first.Digest || o.at("images", 0, "source") != source || target["rollback"] != true {
		t.Errorf("planned: %v", o.at("images", 0))
	}
	other, _ := env.keyFile()
	env.task(back.with("before", firstRun)).want("misuse").says("no signed receipt says what the tag production pointed to before run " + firstRun)
	env.task(back.with("before", "99999")).want("misuse").says("no signed receipt in this repository says that run 99999 has set the tag production")
	env.task(back.with("receiptKey", other)).want("misuse").says("has set the tag production")
	env.task(back.with("receiptKey", "")).want("misuse").says("no key says whose count")
	env.task(back.with("source", prodHost+"/"+cart+"@"+first.Digest)).want("misuse").says("a source with a tag that moves")
	env.task(back).want("done").wantStates("retagged")
	if env.prod.TagDigest(cart, "production") != first.Digest {
		t.Error("the tag has not moved back")
	}
	// What the version's tag points to now does not matter: the receipt has the digest.
	env.prod.SetTagLock(cart, release, true, true)
	pushImage(env.prod, cart, release, 9, 1, 512)
	env.task(back).refusedBy("digest-differs")
}
