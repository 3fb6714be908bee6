#!/usr/bin/env escript
%%! -kernel logger_level none
%% The oracle: plays scripts (see oracle.py) against Erlang/OTP's own supervisor and prints what
%% happened. oracle_trace plays the same scripts against ours; the two must print the same.
-mode(compile).
-export([init/1, start_worker/2, start_nested/2, worker/3]).

-define(PARALLEL, 32).

main([File]) ->
    {ok, Text} = file:read_file(File),
    Lines = [string:lexemes(L, " ") || L <- string:split(binary_to_list(Text), "\n", all), L =/= ""],
    play_all(scripts(Lines, [], [])).

scripts([], _, Done) -> lists:reverse(Done);
scripts([["end"] | Rest], Script, Done) -> scripts(Rest, [], [lists:reverse(Script) | Done]);
scripts([Line | Rest], Script, Done) -> scripts(Rest, [Line | Script], Done).

%% Many at a time, because most of a script's time is waiting for quiet; printed in order.
play_all([]) -> ok;
play_all(Scripts) ->
    {Now, Later} = lists:split(min(?PARALLEL, length(Scripts)), Scripts),
    Self = self(),
    Players = [spawn_link(fun() -> Self ! {self(), play(S)} end) || S <- Now],
    [receive {P, Output} -> io:put_chars(Output) end || P <- Players],
    play_all(Later).

play([["script", Number] | Lines]) ->
    process_flag(trap_exit, true),
    Ctx = ets:new(ctx, [public, ordered_set]),
    {Declared, Rest} = lists:splitwith(fun([W | _]) -> W =:= "sup" orelse W =:= "child" end, Lines),
    {Before, [["go"] | Steps]} = lists:splitwith(fun(L) -> L =/= ["go"] end, Rest),
    [step(L, none, Ctx) || L <- Before],
    Nodes = [{Id, Parent, L} || L = [_, Id, Parent | _] <- Declared],
    {"root", "-", RootLine} = hd(Nodes),
    Root = case supervisor:start_link(?MODULE, {Ctx, RootLine, Nodes}) of
        {ok, Pid} -> Pid;
        {error, {shutdown, {failed_to_start_child, Id, _}}} ->
            log(Ctx, ["failed ", Id]),
            receive {'EXIT', _, _} -> none end
    end,
    Output = [["script ", Number, "\n"], flush(Ctx) | play_steps(Steps, Root, Ctx, [])],
    case Root of none -> ok; _ -> unlink(Root), exit(Root, kill) end,
    Output.

play_steps([], _, _, Output) -> lists:reverse(Output);
play_steps([Step | Steps], Root, Ctx, Output) ->
    case alive(Root) of
        false -> lists:reverse(Output);
        true ->
            step(Step, Root, Ctx),
            settle(Root),
            receive {'EXIT', Root, Why} -> log(Ctx, ["end ", class(Why)]) after 0 -> ok end,
            play_steps(Steps, Root, Ctx,
                       [["> ", lists:join(" ", Step), "\n", flush(Ctx)] | Output])
    end.

alive(none) -> false;
alive(Pid) -> is_process_alive(Pid).

class(normal) -> "normal";
class(shutdown) -> "shutdown";
class({shutdown, _}) -> "shutdown";
class(_) -> "abnormal".

%% ---- Steps ----

step(["fail", Id, N], _, Ctx) -> ets:insert(Ctx, {{fail, Id}, list_to_integer(N)});
step(["ignore", Id, N], _, Ctx) -> ets:insert(Ctx, {{ignore, Id}, list_to_integer(N)});
step(["die", Id, Reason], _, Ctx) ->
    case ets:lookup(Ctx, {pid, Id}) of
        [{_, Pid}] ->
            Ref = monitor(process, Pid),
            Pid ! {die, list_to_atom(Reason)},
            receive {'DOWN', Ref, _, _, noproc} -> log(Ctx, "dead"); {'DOWN', Ref, _, _, _} -> ok end;
        [] -> log(Ctx, "dead")
    end;
step(["shutdown"], Root, Ctx) ->
    exit(Root, shutdown),
    receive {'EXIT', Root, Why} -> log(Ctx, ["end ", class(Why)]) end;
step([Call, Sup | Arguments], Root, Ctx) ->
    case find(Sup, Root) of
        none -> log(Ctx, "noproc");
        Pid -> log(Ctx, call(Call, Pid, Arguments, Ctx))
    end.

call("start_child", Sup, [Id, Restart, Significant], Ctx) ->
    answer(supervisor:start_child(Sup, worker_spec(Ctx, Id, Restart, Significant)));
call("start_dynamic", Sup, [Name], _) -> answer(supervisor:start_child(Sup, [Name]));
call("terminate", Sup, [Id], _) -> answer(supervisor:terminate_child(Sup, Id));
call("terminate_handle", Sup, [Name], Ctx) ->
    case ets:lookup(Ctx, {pid, Name}) of
        [{_, Pid}] -> answer(supervisor:terminate_child(Sup, Pid));
        [] -> "unknown"
    end;
call("restart", Sup, [Id], _) -> answer(supervisor:restart_child(Sup, Id));
call("delete", Sup, [Id], _) -> answer(supervisor:delete_child(Sup, Id));
call("which", Sup, [], _) ->
    Children = supervisor:which_children(Sup),
    case [C || C = {undefined, _, _, _} <- Children] of
        [] -> ["which", [[" ", Id, "=", shown(P)] || {Id, P, _, _} <- Children]];
        Dynamic -> ["which ", integer_to_list(length(Dynamic)), " dynamic"]
    end;
call("count", Sup, [], _) ->
    Counts = supervisor:count_children(Sup),
    ["count", [[" ", integer_to_list(proplists:get_value(K, Counts))]
               || K <- [specs, active, supervisors, workers]]].

shown(undefined) -> "none";
shown(restarting) -> "restarting";
shown(Pid) when is_pid(Pid) -> "up".

answer(ok) -> "reply ok";
answer({ok, _}) -> "reply ok";
answer({error, {already_started, _}}) -> "reply already_started";
answer({error, Word}) when Word =:= already_present; Word =:= not_found; Word =:= running;
                           Word =:= restarting; Word =:= simple_one_for_one ->
    ["reply ", atom_to_list(Word)];
answer({error, {bad_combination, _}}) -> "reply invalid_child_spec";
answer({error, _}) -> "reply start_failed".

find("root", Root) -> Root;
find(Id, Root) ->
    Below = [{I, P} || {I, P, supervisor, _} <- supervisor:which_children(Root), is_pid(P)],
    case lists:keyfind(Id, 1, Below) of
        {_, Pid} -> Pid;
        false -> lists:foldl(fun({_, P}, none) -> find(Id, P); (_, Found) -> Found end, none, Below)
    end.

%% Quiet: every supervisor waits with an empty mailbox, three looks in a row.
settle(Root) -> settle(Root, 0).
settle(_, 3) -> ok;
settle(Root, Looks) ->
    timer:sleep(1),
    case quiet(Root) of true -> settle(Root, Looks + 1); false -> settle(Root, 0) end.

quiet(Pid) ->
    case process_info(Pid, [message_queue_len, status, links]) of
        undefined -> true;
        [{message_queue_len, 0}, {status, waiting}, {links, Links}] ->
            lists:all(fun(L) -> not is_pid(L) orelse L =:= self() orelse not is_supervisor(L)
                                orelse quiet_below(L, Pid) end, Links);
        _ -> false
    end.

quiet_below(Pid, Above) ->
    case process_info(Pid, [message_queue_len, status, links]) of
        undefined -> false;
        [{message_queue_len, 0}, {status, waiting}, {links, Links}] ->
            lists:all(fun(L) -> L =:= Above orelse not is_pid(L) orelse not is_supervisor(L)
                                orelse quiet_below(L, Pid) end, Links);
        _ -> false
    end.

is_supervisor(Pid) ->
    case process_info(Pid, dictionary) of
        {dictionary, D} -> proplists:get_value('$initial_call', D) =:= {supervisor, ?MODULE, 1};
        undefined -> false
    end.

log(Ctx, Line) -> ets:insert(Ctx, {{log, erlang:unique_integer([monotonic])}, Line}).

flush(Ctx) ->
    Lines = ets:match(Ctx, {{log, '$1'}, '$2'}),
    ets:match_delete(Ctx, {{log, '_'}, '_'}),
    [[L, "\n"] || [_, L] <- lists:sort(Lines)].

%% ---- The tree ----

init({Ctx, ["sup", Id, _, Strategy, Intensity, AutoShutdown | _], Nodes}) ->
    Flags = #{strategy => list_to_atom(Strategy), intensity => list_to_integer(Intensity),
              period => 3600, auto_shutdown => list_to_atom(AutoShutdown)},
    {ok, {Flags, [spec(Ctx, Line, list_to_atom(Strategy), Nodes)
                  || {_, Parent, Line} <- Nodes, Parent =:= Id]}}.

spec(Ctx, ["child", Id, _, Restart, _], simple_one_for_one, _) ->
    #{id => Id, start => {?MODULE, start_worker, [Ctx]}, restart => list_to_atom(Restart)};
spec(Ctx, ["child", Id, _, Restart, Significant], _, _) ->
    worker_spec(Ctx, Id, Restart, Significant);
spec(Ctx, Line = ["sup", Id, _, _, _, _, Restart, Significant], _, Nodes) ->
    #{id => Id, start => {?MODULE, start_nested, [{Ctx, Line, Nodes}, Ctx]}, type => supervisor,
      restart => list_to_atom(Restart), significant => Significant =:= "1"}.

worker_spec(Ctx, Id, Restart, Significant) ->
    #{id => Id, start => {?MODULE, start_worker, [Ctx, Id]}, restart => list_to_atom(Restart),
      significant => Significant =:= "1"}.

start_nested(Arguments, _) -> supervisor:start_link(?MODULE, Arguments).

start_worker(Ctx, Id) ->
    log(Ctx, ["start ", Id]),
    case {take(Ctx, {fail, Id}), take(Ctx, {ignore, Id})} of
        {true, _} -> log(Ctx, ["fail ", Id]), {error, failed};
        {_, true} -> log(Ctx, ["ignore ", Id]), ignore;
        _ -> proc_lib:start_link(?MODULE, worker, [Ctx, Id, self()])
    end.

take(Ctx, Key) ->
    case ets:lookup(Ctx, Key) of
        [{_, N}] when N > 0 -> ets:insert(Ctx, {Key, N - 1}), true;
        _ -> false
    end.

worker(Ctx, Id, Parent) ->
    process_flag(trap_exit, true),
    ets:insert(Ctx, {{pid, Id}, self()}),
    proc_lib:init_ack({ok, self()}),
    receive
        {'EXIT', Parent, Reason} -> log(Ctx, ["stop ", Id]), exit(Reason);
        {die, Reason} -> exit(Reason)
    end.
