// Publishes VM lifecycle events to a configdrive fleet and waits for their outcomes: all that a program in another language
// has to do, on Go's own library and libsodium's sealed box.
//
//	go-client publish < event.json     through the list configdrive:intake
//	go-client call    < event.json     through the function configdrive_put_v1: the answer comes at once
//	go-client vectors < vectors.json   check this program's sealed boxes against the published test vectors
//
// Standard input holds one event or several, one after the other. An event's data.guest is sealed on the way. The
// environment holds CONFIGDRIVE_REDIS_URL and CONFIGDRIVE_PUBLIC_KEY (the line of `configdrive keys public`).
// One line for each outcome, in their order; exit code 1 when one was not applied, 2 when something went wrong.
package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	intake   = "configdrive:intake"
	function = "configdrive_put_v1"
	stream   = "configdrive:outcomes"
	patience = 60 * time.Second
)

func main() {
	applied, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "go-client:", err)
		os.Exit(2)
	}
	if !applied {
		os.Exit(1)
	}
}

func run(words []string) (bool, error) {
	if len(words) != 1 {
		return false, errors.New("usage: go-client publish | call | vectors")
	}
	if words[0] == "vectors" {
		return true, checkVectors(os.Stdin, os.Stdout)
	}
	address := os.Getenv("CONFIGDRIVE_REDIS_URL")
	if address == "" {
		address = "redis://127.0.0.1:6379"
	}
	redis, err := Dial(address)
	if err != nil {
		return false, err
	}
	events, keys, err := readEvents(os.Stdin, os.Getenv("CONFIGDRIVE_PUBLIC_KEY"))
	if err != nil {
		return false, err
	}
	position, err := endOf(redis, stream) // before publishing: an outcome may come at once
	if err != nil {
		return false, err
	}
	for _, event := range events {
		var answer any
		switch words[0] {
		case "publish":
			_, err = redis.Do("LPUSH", intake, event)
		case "call":
			answer, err = redis.Do("FCALL", function, "0", event)
		default:
			err = errors.New("usage: go-client publish | call | vectors")
		}
		if err != nil {
			return false, err
		}
		if said, _ := answer.([]any); len(said) == 2 && said[1] == "published" {
			position = "0" // a duplicate whose outcome was published before: it may stand anywhere on the stream
		}
	}
	return awaitOutcomes(redis, position, keys)
}

// readEvents reads events and seals what they say of the drive's content; returns them as JSON, with their keys.
func readEvents(input io.Reader, publicKey string) (events, keys []string, err error) {
	decoder := json.NewDecoder(input)
	decoder.UseNumber() // a sequence may be larger than a float holds
	for {
		var event map[string]any
		if err := decoder.Decode(&event); err == io.EOF {
			return events, keys, nil
		} else if err != nil {
			return nil, nil, err
		}
		id, _ := event["id"].(string)
		data, _ := event["data"].(map[string]any)
		vm, _ := data["vm"].(map[string]any)
		uuid, _ := vm["uuid"].(string)
		if guest, given := data["guest"]; given {
			clear, err := json.Marshal(guest)
			if err != nil {
				return nil, nil, err
			}
			if data["sealed"], err = Seal(clear, publicKey, uuid, id); err != nil {
				return nil, nil, err
			}
			delete(data, "guest")
		}
		whole, err := json.Marshal(event)
		if err != nil {
			return nil, nil, err
		}
		source, _ := event["source"].(string)
		events, keys = append(events, string(whole)), append(keys, keyOf(source, id))
	}
}

// keyOf returns the key of an event, by which the fleet keeps whatever it keeps of it.
func keyOf(source, id string) string {
	digest := sha256.Sum256([]byte(source + "\n" + id))
	return base64.URLEncoding.EncodeToString(digest[:])[:22]
}

// endOf returns the id of the newest entry of a stream, "0" when there is none.
func endOf(redis *Redis, stream string) (string, error) {
	answer, err := redis.Do("XREVRANGE", stream, "+", "-", "COUNT", "1")
	if err != nil {
		return "", err
	}
	if entries, _ := answer.([]any); len(entries) > 0 {
		return entries[0].([]any)[0].(string), nil
	}
	return "0", nil
}

// awaitOutcomes prints the outcome of each event; returns whether all were applied.
func awaitOutcomes(redis *Redis, position string, keys []string) (bool, error) {
	waiting := map[string]bool{}
	for _, key := range keys {
		waiting[key] = true
	}
	applied := true
	for deadline := time.Now().Add(patience); len(waiting) > 0; {
		if time.Now().After(deadline) {
			return false, fmt.Errorf("%d outcomes have not come yet; nothing is lost", len(waiting))
		}
		answer, err := redis.Do("XREAD", "BLOCK", "1000", "COUNT", "100", "STREAMS", stream, position)
		if err != nil {
			return false, err
		}
		for _, entry := range entriesOf(answer) {
			position = entry.position
			var outcome struct{ Status string }
			if err := json.Unmarshal([]byte(entry.outcome), &outcome); err != nil {
				return false, err
			}
			if waiting[entry.event] {
				delete(waiting, entry.event)
				applied = applied && outcome.Status == "applied"
				fmt.Println(entry.outcome)
			}
		}
	}
	return applied, nil
}

type entry struct{ position, event, outcome string }

// entriesOf reads XREAD's answer for one stream: [[stream, [[position, [name, value, ...]], ...]]].
func entriesOf(answer any) (entries []entry) {
	streams, _ := answer.([]any)
	if len(streams) == 0 {
		return nil
	}
	for _, item := range streams[0].([]any)[1].([]any) {
		pair := item.([]any)
		fields := map[string]string{}
		for rest := pair[1].([]any); len(rest) > 1; rest = rest[2:] {
			fields[rest[0].(string)] = rest[1].(string)
		}
		entries = append(entries, entry{pair[0].(string), fields["event"], fields["outcome"]})
	}
	return entries
}
