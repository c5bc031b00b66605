"""What the paper leaves open: what it says, what is done here, what else could be, and the evidence.

Evidence figures are matched task F1 on unseen instructions at the top layer after t-SNE, of small models (width 256, 20
tasks, one seed), unless they say otherwise, from trials with a t-SNE of one degree of freedom and no kept records: they
guided the defaults and are no claim. "search" is reports/search, whose records came later and are lower.
"""

from typing import NamedTuple


class SilentPoint(NamedTuple):
    """One choice the paper does not fix."""

    name: str
    paper: str
    ours: str
    alternatives: str
    evidence: str


SILENT_POINTS = (
    SilentPoint(
        "feed-forward width at 32, 256, 2048",
        "Table 5 gives 1024 for 768",
        "2 x width: 64, 512, 4096",
        "4 x width, as GPT-2",
        "only 2 x width gives Table 8's counts (claim parameter-counts; 4 x is its null)",
    ),
    SilentPoint(
        "F1 of a clustering",
        '"F1", formula of precision and recall',
        "macro F1 after the optimal one-to-one matching; pairwise F1 beside it",
        "pairwise F1, majority mapping",
        "Table 1: ARI 0.872 goes with F1 0.959 for three classes and clusters when matched one to one; the majority's "
        "would be the same there, and differs with more clusters (next)",
    ),
    SilentPoint(
        "number of clusters",
        "not given",
        "the number of classes of the labels",
        "more; chosen by a criterion",
        "with two clusters a task, each standing for its majority's task, F1 passes 0.9 on unseen instructions (width "
        "256, five seeds; one a task: 0.47), but a bag of symbols has 0.86, and the ARI is 0.37, where the text has "
        "high values in all metrics (reports/search/clusterings.md)",
    ),
    SilentPoint(
        "families of metacharacters",
        '"sample several metacharacters", then characters "as their arguments"',
        "quantified groups: *, + and ? on a group of 3-10 symbols",
        "bounded repeats, classes, alternations",
        "classes and alternations leave unseen instructions harder to identify (accuracy 0.43 against 0.9); search, "
        "width 128: bounded repeats F1 0.49 (accuracy 0.98), classes 0.55 (0.85), all 0.45 (0.89), ours 0.45 (0.96)",
    ),
    SilentPoint(
        "repeats of * and +",
        "not given",
        "at most 3",
        "2, 5",
        "0.93 / 0.79 / 0.75 for 2 / 3 / 5; the search has it the other way: 0.41 / 0.45 / 0.47 (width 128)",
    ),
    SilentPoint(
        "instructions of two tasks",
        "one distribution asks for one task, else the problem is ill-defined (§2.1)",
        "no instruction matches a pattern of another task",
        "only distinct instructions",
        "required by the text",
    ),
    SilentPoint(
        "what a hard example replaces",
        '"a word within certain instructions"; "initial" becomes "secondary"',
        "the symbol most shared in the distribution, by one unused symbol",
        "a random place of each instruction",
        "the first is learned by epoch 100 of a small model, the second must be memorized (search, width 128: hard "
        "accuracy 0.42, 0.14; F1 0.45, 0.48)",
    ),
    SilentPoint(
        "distribution of a hard example",
        "not given",
        "a new one: a distribution asks for one task (§2.1)",
        "its original's",
        "none",
    ),
    SilentPoint(
        "draw of distributions",
        "1 to 6 a task; Table 3: 7,300 / 180 / 315",
        "conditioned on 6 in the hard tasks, 21 in validation, 150 in all: 7,275 / 180 / 315",
        "every task alone: about 8,500 / 525 / 525 on average",
        "Table 3; search: one, two, four an evaluated task give F1 0.71, 0.57, 0.34 (width 128), and a bag of symbols "
        "0.87, 0.51, 0.37; one at the paper's scale, width 256 (seed 0): 0.87 and 0.97",
    ),
    SilentPoint(
        "instructions of the training subset",
        '"all available" (Table 4), 180 instances (Table 3)',
        "hard examples and exactly their originals",
        "all training instructions of the five tasks",
        "180 = 6 distributions x (3 + 3) x 5",
    ),
    SilentPoint(
        "loss", '"predicting the next token in the sequence"', "mean over all next tokens", "output alone", "text"
    ),
    SilentPoint(
        "mean of the loss", "not given", "over tokens", "over sequences, each weighing one", "search: 0.45, 0.48"
    ),
    SilentPoint(
        "warm-up",
        '"cosine annealing"',
        "none",
        "ten epochs, linear",
        "search: 0.45, 0.60 (starts 0.10 apart); with a rate of 6e-4 at width 256 the norm-after model needs it "
        "(a trial without kept records)",
    ),
    SilentPoint(
        "batch",
        "not given; the best epoch is the 51st (§3.2)",
        "8 instructions, each with its 5 instances",
        "2, 16, 52; instances shuffled one by one",
        "16 at width 768 are best at epochs 99 and 95, after 8,800 steps; 51 epochs of 8 are 9,300, but 8 are best at "
        "72 (one seed)",
    ),
    SilentPoint(
        "norm placement",
        '"following the GPT-2 architecture"',
        "after each branch",
        "before, as GPT-2",
        "after: layers order cleanly, 0.79; before: 0.37 at equal accuracy; the search: GPT-2 0.31, after 0.54 "
        "(width 256, two seeds); norm alone before 0.53, after 0.45 (width 128); at the paper's scale, width 256, "
        "GPT-2 learns more and sooner (hard examples 0.98 to 1.00 for 0.40) and ends at 0.33 for 0.48 by task, at 0.71 "
        "for 0.50 by mapping (five seeds each); at 768 0.37 for 0.44 and 0.77 for 0.53 (one seed each)",
    ),
    SilentPoint(
        "positions",
        '"following the GPT-2 architecture"',
        "fixed sinusoids",
        "learned, as GPT-2",
        "the input's share is 0.25 in layer 0 and 0.5 to 0.7 in layers 1 to 3 (the paper's scale, width 256)",
    ),
    SilentPoint(
        "tied head",
        'GPT-2 ties; "only the linear language head" is tuned in §4.2',
        "untied",
        "tied",
        "Table 8 at width 32: blocks have 51,264 of the 55 thousand; tied tokens with sinusoids make it 53,216, "
        "untied ones 55,168, tied ones with learned positions 54,528; tied and without dropout in the attention has "
        "0.72 and 0.49 in the search (width 128, two seeds) and 0.60 at the paper's scale, width 256 (seed 0; untied "
        "0.48, five seeds), at accuracy 0.90",
    ),
    SilentPoint(
        "initial token scale", "not given", "0.1", "0.02, 0.2, 1", "0.1 beats 0.2 (0.64) and 1; 0.03 is too slow"
    ),
    SilentPoint(
        "scale of token embeddings in the model",
        "not given",
        "none",
        "times sqrt(width), as in PyTorch's tutorial, whose norm, positions, head and dropout fit the paper's text too",
        "reports/search (setting tutorial)",
    ),
    SilentPoint(
        "initial weights",
        "not given",
        "0.02 at width 768, scaled as 1/sqrt(width)",
        "0.07 at 256",
        "0.07: learns late; search, width 128: 0.44, 0.50, 0.45, 0.48 for 0.01, 0.02, 0.049 (ours), 0.07",
    ),
    SilentPoint(
        "dropout's places",
        "0.2",
        "embeddings, attention weights, both branches",
        "without attention",
        "GPT-2's; search, width 128: 0.45 everywhere, 0.32 to 0.41 in fewer places; but with a tied head 0.59, and "
        "0.72, 0.49 without attention (two seeds)",
    ),
    SilentPoint(
        "precision",
        "not given",
        "bfloat16 with float32 master weights from width 128 where the processor is faster in it; probing in float32",
        "float32",
        "tests/models/test_precision.py",
    ),
    SilentPoint(
        "t-SNE",
        '"optionally ... if it benefits"; Table 6',
        "scores with and without, both shown; verdicts are of those with",
        "the better one",
        "text",
    ),
    SilentPoint(
        "t-SNE's method",
        "Table 6 uses scikit-learn's names",
        "exact",
        "Barnes-Hut, which keeps the affinities to 31 neighbours alone: scikit-learn's default",
        "reports/search/settings.md; on states made for tests, 200 seeds, scikit-learn's two methods have a mean F1 of "
        "0.835 and 0.866, ours 0.838",
    ),
    SilentPoint(
        "t-SNE's force in three dimensions",
        "Table 6 uses scikit-learn's names",
        "scikit-learn's: two degrees of freedom, and their power in the force, which is not the divergence's gradient",
        "one degree of freedom, where the force is the gradient",
        "equals scikit-learn (tests/probes/test_tsne.py); tried on synthetic clusters, one degree of freedom reached "
        "0.05-0.06 nats against 0.10-0.36 at 120 points, and about the same at 315",
    ),
    SilentPoint(
        "starts of t-SNE and of k-means",
        "not given",
        "t-SNE: a score is the mean over 10 starts; k-means: the lowest inertia of 50",
        "t-SNE: the lowest divergence of 3 (records before version 6); k-means: 10, 200",
        "each start's score is in every record, and their spread in every report; k-means after t-SNE, width 256, seed "
        "0, last epoch: 10, 50, 200 starts give a mean F1 of 0.49, 0.50, 0.50, with deviations of 0.03, 0.01, 0.01 (a "
        "trial)",
    ),
    SilentPoint("K of KNN, metric", "not given", "10, Euclidean", "1, 5, 20; cosine", "none"),
    SilentPoint(
        "state of layer 6", "not given", "after the last norm", "before it", "the same where the norm is after"
    ),
    SilentPoint(
        "trainings of the applications at width 256: epochs, rate, warm-up",
        "Table 5, 200 epochs at 1e-4, speaks of the main experiment; Figure 7's model of width 32 has the epochs "
        "changed (500) and nothing else said",
        "6e-4, cosine annealing after five epochs of warm-up: 25 epochs of pre-training of every arm, 40 of "
        "tuning, 40 of the alignment's base",
        "Table 5's; no warm-up; a rate of 3e-4 or 1e-3",
        "at 1e-4 hard examples are learned to 0.40 in 200 epochs (five seeds; plain GPT-2 0.98 or more, five); "
        "at 6e-4 without warm-up a base stayed at chance for its 40 (accuracy 0.10)",
    ),
    SilentPoint(
        "rate at width 32",
        "Table 5's is the main experiment's; Figure 7's model of width 32 has 500 epochs and nothing else said",
        "Table 5's, 1e-4",
        "2.4e-3, Table 5's times 768/32, after warm-up",
        "at 1e-4 accuracy on unseen instructions is 0.18 at its highest and 0.14 at epoch 500 (one seed): 32 learns no "
        "task to speak of",
    ),
    SilentPoint(
        "what an identity follows",
        '"a special token to the end of an instruction"',
        "one trigger for all tasks, one token a task, hard tasks too; none is read in tuning",
        "a linear classifier of the last instruction token",
        "text",
    ),
    SilentPoint(
        "weights of the tokens used in one stage only",
        "not given",
        "one vocabulary, optimizer and schedule begun anew in tuning, the same initial weights in every arm",
        "optimizer state kept",
        "paired by seed",
    ),
    SilentPoint(
        "state clustered in pre-training",
        '"following the setting in Section 3.2", where the token before the output\'s is',
        "the trigger's, which predicts the identity; one a instruction",
        "the last instruction token's",
        "none",
    ),
    SilentPoint(
        "width of the alignment experiments",
        "§4.1 names 256, §4.2 none",
        "768, the main experiment's; --width for others",
        "256",
        "none",
    ),
    SilentPoint(
        "draw of distributions for alignment",
        "1 to 6 a task (Table 7); no sizes",
        "every task alone",
        "conditioned as for Table 3",
        "none",
    ),
    SilentPoint(
        "validation set for alignment",
        "ten tasks, three instructions a distribution (Table 7)",
        "the three sources, their targets and four regular tasks; its toxic instructions are never trained on and "
        "choose the epoch, the others measure the drop",
        "sources apart from the ten",
        "required by Table 2's two columns",
    ),
    SilentPoint(
        "checkpoints and scores on the same instructions (§4.1)",
        '"best prediction performance on the validation set", accuracy "measured on the validation set"',
        "so too: pre-training is selected on the unseen instructions on which tuning is then measured; the arm without "
        "pre-training has nothing selected, and the null's length is the selected arm's",
        "a third set of instructions",
        "text",
    ),
    SilentPoint(
        '"best average validation accuracy" of sources (§4.2)',
        "not given over what",
        "over instances",
        "over tasks, which have 3 to 18 unseen instructions each",
        "none",
    ),
    SilentPoint(
        "fine-tuning for alignment: epochs, rate",
        "not given",
        "all weights: 100 epochs at 1e-4; head: 200 at 1e-3; cosine; loss over the sequence; the first epoch of best "
        "source accuracy",
        "outputs alone; the last of equal epochs",
        "enough steps for 1.00 on the sources, which the paper prints; the order of direct and head hangs on when one "
        "stops (docs/applications.md)",
    ),
    SilentPoint(
        "switch network: rate, epochs, batch",
        "not given",
        "AdamW at 1e-3, 100 epochs, batches of 32; ReLU; its own loss, to the end, so that the choice of the head's "
        "epoch has no say in it; the new head likewise, on states without dropout, which head tuning has, and "
        "in the same batches for both kinds of switch",
        "20 epochs, as in the authors' later work on more instances",
        "none",
    ),
    SilentPoint(
        "what the switch reads",
        '"hidden states of the last tokens from the last layer"',
        "the input token's state behind the last norm, without dropout; in generation the prompt's last token decides "
        "for all that follows",
        "every token decides for itself",
        "text",
    ),
    SilentPoint(
        '"one instance for each other task"',
        "not given which",
        "a random training instruction with one of its inputs, targets among the tasks; no weighting of the classes",
        "one a distribution",
        "text",
    ),
    SilentPoint(
        "head tuning of a tied model",
        '"freezing the rest of the model"',
        "the head gets weights of its own first, so that inputs stay as they are",
        "tied: inputs change too",
        "tests/models/test_alignment.py",
    ),
    SilentPoint(
        "size of the realistic test set",
        "16 tasks x 50 expressions x 10 mappings in the text; 8,800 in Table 3",
        "8,000, as the text has it",
        "a seventeenth task that Table 9 lost, or eleven mappings",
        "16 x 50 x 11 = 8,800",
    ),
    SilentPoint(
        "expressions and words of the realistic setting",
        '"Rewrite 50 different expressions of XXX", asked of ChatGPT; neither these nor the words are printed',
        "written for this project to that brief (taskclust/data/natural)",
        "ChatGPT's of today",
        "none: scores are comparable among models here, not with Table 1's to the digit",
    ),
    SilentPoint(
        "prompt of the realistic setting",
        '"linking each instruction to a task mapping ... in the same way as ... Section 2.2"',
        "the instruction, a full stop, the input word; the state of its last token",
        'a template with marks such as "Input:", or of a chat',
        "none; a model's own chat template is not used, so that all models read the same",
    ),
    SilentPoint(
        "layers and t-SNE of the realistic setting",
        '"the layer with the best F1 score on clustering based on task identity"',
        "every layer after the model's last norm; best layer chosen with and without t-SNE, nulls choose theirs too "
        "(the untrained twin among every fifth)",
        "one layer for both",
        "t-SNE of more than 3,000 prompts is scikit-learn's Barnes-Hut approximation, from one start",
    ),
)
