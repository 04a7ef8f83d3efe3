package main

import (
	"encoding/json"
	"fmt"
	"io"
)

type vectors struct {
	PublicKey  string `json:"public_key"`
	PrivateKey string `json:"private_key"`
	Opens      []struct {
		VM, Event, Guest, Sealed string
	}
	Refused []struct {
		Why, VM, Event, Sealed string
	}
}

// checkVectors opens the published sealed boxes, refuses those that must be refused, and prints each guest data sealed anew:
// {"vm", "event", "guest", "sealed"} a line, so that another program can open them.
func checkVectors(input io.Reader, output io.Writer) error {
	var known vectors
	if err := json.NewDecoder(input).Decode(&known); err != nil {
		return err
	}
	for _, one := range known.Opens {
		guest, err := Open(one.Sealed, known.PrivateKey, one.VM, one.Event)
		if err != nil || string(guest) != one.Guest {
			return fmt.Errorf("event %s: %q came out of the sealed box (%v)", one.Event, guest, err)
		}
		if one.Sealed, err = Seal(guest, known.PublicKey, one.VM, one.Event); err != nil {
			return err
		}
		anew := map[string]string{"vm": one.VM, "event": one.Event, "guest": one.Guest, "sealed": one.Sealed}
		if err := json.NewEncoder(output).Encode(anew); err != nil {
			return err
		}
	}
	for _, one := range known.Refused {
		if _, err := Open(one.Sealed, known.PrivateKey, one.VM, one.Event); err == nil {
			return fmt.Errorf("a sealed box was opened that must be refused: %s", one.Why)
		}
	}
	return nil
}
