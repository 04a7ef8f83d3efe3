package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"golang.org/x/crypto/curve25519"
	"golang.org/x/crypto/nacl/box"
)

// Seal puts guest data into a sealed box that only the fleet's workers can open, and only for this event of this VM.
// publicKey is the line that `configdrive keys public` prints.
func Seal(guest []byte, publicKey, vmUUID, eventID string) (string, error) {
	key, err := key32(publicKey)
	if err != nil {
		return "", err
	}
	content := append([]byte(strings.ToLower(vmUUID)+"/"+eventID+"\n"), guest...)
	sealed, err := box.SealAnonymous(nil, content, key, rand.Reader) // libsodium: crypto_box_seal
	if err != nil {
		return "", err
	}
	return "v1." + hex.EncodeToString(key[:8]) + "." + base64.URLEncoding.EncodeToString(sealed), nil
}

// Open takes guest data out of a sealed box again, as a worker does. A publisher never needs it, and never has the private key.
func Open(sealed, privateKey, vmUUID, eventID string) ([]byte, error) {
	private, err := key32(privateKey)
	if err != nil {
		return nil, err
	}
	point, err := curve25519.X25519(private[:], curve25519.Basepoint)
	if err != nil {
		return nil, err
	}
	public := (*[32]byte)(point)
	parts := strings.Split(sealed, ".")
	if len(parts) != 3 || parts[0] != "v1" || parts[1] != hex.EncodeToString(public[:8]) {
		return nil, errors.New("not a sealed box for this key")
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[2], "="))
	if err != nil {
		return nil, err
	}
	content, opened := box.OpenAnonymous(nil, raw, public, private) // libsodium: crypto_box_seal_open
	context := []byte(vmUUID + "/" + eventID + "\n")
	if !opened || !bytes.HasPrefix(content, context) {
		return nil, errors.New("the sealed box is damaged, or was made for another VM or event")
	}
	return content[len(context):], nil
}

func key32(text string) (*[32]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(raw) != 32 {
		return nil, errors.New("a key is the base64 of 32 bytes")
	}
	return (*[32]byte)(raw), nil
}
