// A vCenter (or a stand-alone ESXi) for the tests: govmomi's simulator behind a front that behaves, where the simulator
// is lenient, as the real one does, and that breaks on demand.
//
// Its only argument is a file with its configuration as JSON; it serves until it is killed.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/simulator/vpx"
	"github.com/vmware/govmomi/vim25/types"
)

// datastore is one datastore: its files lie in Directory, the named hosts have it mounted.
type datastore struct {
	Name      string   `json:"name"`
	Directory string   `json:"directory"`
	Hosts     []string `json:"hosts"`
}

type configuration struct {
	ESXi        bool                `json:"esxi"`
	Listen      string              `json:"listen"`
	Plain       string              `json:"plain"`
	Certificate string              `json:"certificate"`
	Key         string              `json:"key"`
	User        string              `json:"user"`
	Password    string              `json:"password"`
	Hosts       []string            `json:"hosts"`
	Datastores  []datastore         `json:"datastores"`
	Pods        map[string][]string `json:"pods"`
}

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	var wanted configuration
	text, err := os.ReadFile(os.Args[1])
	must(err)
	must(json.Unmarshal(text, &wanted))

	model := &simulator.Model{
		ServiceContent: vpx.ServiceContent, RootFolder: vpx.RootFolder, Datacenter: 1, Cluster: 1,
		ClusterHost: len(wanted.Hosts),
	}
	if wanted.ESXi {
		model = &simulator.Model{ServiceContent: esx.ServiceContent, RootFolder: esx.RootFolder}
	}
	must(model.Create())
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(wanted.User, wanted.Password)}
	server := model.Service.NewServer() // registers the handlers; its own port is not used
	defer server.Close()
	must(populate(&wanted))

	front := newFront(model.Service.ServeMux, &wanted)
	plain := http.NewServeMux()
	plain.HandleFunc("/control/", front.control)
	plain.HandleFunc("/sdk", front.administer)
	go func() { must(http.ListenAndServe(wanted.Plain, plain)) }()

	listener, err := net.Listen("tcp", wanted.Listen)
	must(err)
	must(front.useCertificate(wanted.Certificate, wanted.Key))
	secure := tls.NewListener(&gate{Listener: listener, front: front}, &tls.Config{GetCertificate: front.certificate})
	must((&http.Server{Handler: front, ErrorLog: log.New(os.Stderr, "tls: ", 0)}).Serve(secure))
}

// populate names the hosts, mounts the datastores and puts some of them into datastore clusters.
func populate(wanted *configuration) error {
	hosts := map[string]*simulator.HostSystem{}
	for number, entity := range simulator.Map.All("HostSystem") {
		host := entity.(*simulator.HostSystem)
		host.Name = wanted.Hosts[number]
		host.Summary.Config.Name = host.Name
		hosts[host.Name] = host
	}
	stores := map[string]*simulator.Datastore{}
	for _, one := range wanted.Datastores {
		for _, name := range one.Hosts {
			system := simulator.Map.Get(*hosts[name].ConfigManager.DatastoreSystem).(*simulator.HostDatastoreSystem)
			request := &types.CreateLocalDatastore{Name: one.Name, Path: one.Directory}
			if answer := system.CreateLocalDatastore(newContext(), request); answer.Fault() != nil {
				return fmt.Errorf("datastore %s: %s", one.Name, answer.Fault().String)
			}
		}
	}
	for _, entity := range simulator.Map.All("Datastore") {
		store := entity.(*simulator.Datastore)
		stores[store.Name] = store
	}
	for _, one := range wanted.Datastores {
		store := stores[one.Name]
		store.Host = nil
		for _, name := range one.Hosts {
			yes := true
			store.Host = append(store.Host, types.DatastoreHostMount{
				Key:       hosts[name].Self,
				MountInfo: types.HostMountInfo{AccessMode: "readWrite", Mounted: &yes, Accessible: &yes},
			})
		}
		several := len(one.Hosts) > 1
		store.Summary.MultipleHostAccess = &several
		browser := simulator.Map.Get(store.Browser).(*simulator.HostDatastoreBrowser)
		browser.Datastore = []types.ManagedObjectReference{store.Self}
	}
	return cluster(wanted.Pods, stores)
}

func cluster(pods map[string][]string, stores map[string]*simulator.Datastore) error {
	for name, members := range pods {
		folder := simulator.Map.Get(*stores[members[0]].Parent).(*simulator.Folder)
		answer := folder.CreateStoragePod(newContext(), &types.CreateStoragePod{This: folder.Self, Name: name})
		if answer.Fault() != nil {
			return fmt.Errorf("pod %s: %s", name, answer.Fault().String)
		}
		for _, entity := range simulator.Map.All("StoragePod") {
			pod := entity.(*simulator.StoragePod)
			if pod.Name != name {
				continue
			}
			for _, member := range members {
				move := &types.MoveIntoFolder_Task{This: pod.Self, List: []types.ManagedObjectReference{stores[member].Self}}
				pod.MoveIntoFolderTask(newContext(), move)
			}
		}
	}
	return nil
}

func newContext() *simulator.Context {
	session := &simulator.Session{Registry: simulator.NewRegistry()}
	return &simulator.Context{Context: context.Background(), Session: session, Map: simulator.Map}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
