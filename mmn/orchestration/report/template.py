"""The page's template (Jinja, everything escaped). It holds words and structure; every number comes in as printed."""

from mmn.orchestration.report.comparisons import COMPARED
from mmn.orchestration.report.highmmt import JOINED
from mmn.orchestration.report.open_questions import OPEN
from mmn.orchestration.report.trust import TRUST

TEMPLATE = """\
{% macro csv(name) %}
<a class="csv" href="{{ downloads[name] }}" download="{{ name }}.csv">{{ name }}.csv</a>
{%- endmacro %}
{% macro linked(pairs, nothing) %}
{% for key, href in pairs %}
{% if href %}<a href="{{ href }}"><code>{{ key }}</code></a>{% else %}<code>{{ key }}</code>{% endif %}
{{- "" if loop.last else ", " }}
{% else %}{{ nothing }}{% endfor %}
{% endmacro %}
{% macro facts(pairs) %}
<ul class="facts">{% for key, value in pairs %}<li>{{ key }}: {{ value }}</li>{% endfor %}</ul>
{% endmacro %}
{% macro panel(made) %}
<div class="panel">
{% if made.title %}<p>{{ made.title }}</p>{% endif %}
<img src="{{ made.src }}" alt="{{ made.alt }}" width="{{ made.width }}" height="{{ made.height }}">
</div>
{% endmacro %}
{% macro drawing(view) %}
<figure id="{{ view.anchor }}">
<h3>{{ view.title }}</h3>
<div class="panels{{ " paired" if view.paired }}">
{% for made in view.panels %}{{ panel(made) }}{% endfor %}
</div>
{% if view.rows %}
<div class="scroll"><table class="narrow">
<thead><tr>{% for name in view.head %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in view.rows %}
<tr><th scope="row">{{ row[0] }}</th>{% for value in row[1:] %}<td>{{ value }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
{% endif %}
<figcaption>{{ view.caption }}
{% if view.csv %}The numbers: {{ csv(view.csv) }}{% endif %}</figcaption>
{% if view.more %}
<details><summary>{{ view.more_title }} ({{ view.more | length }})</summary>
<div class="panels">
{% for made in view.more %}{{ panel(made) }}{% endfor %}
</div>
</details>
{% endif %}
</figure>
{% endmacro %}
{% macro score(cell, several) %}
<div class="cell {{ cell.standing }}">
{% if cell.undefined %}
<a href="{{ cell.href }}"><span class="verdict undefined">{{ cell.symbol }} {{ cell.undefined }}</span></a>
{% else %}
<a class="value" href="{{ cell.href }}" title="Where this number comes from">{{ cell.value }}</a>
{% if cell.interval %}<small class="num">{{ cell.interval }}</small>{% endif %}
<span class="verdict {{ cell.standing }}">{{ cell.symbol }} {{ cell.verdict }}</span>
{% if cell.note %}<small>{{ cell.note }}</small>{% endif %}
{% endif %}
{% if several %}<small>{{ cell.task_set }}</small>{% endif %}
</div>
{% endmacro %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>mmn: models, floors and what was left out</title>
<style>{{ style | safe }}</style>
</head>
<body>
<a class="skip" href="#answer">To the answer</a>
<header>
<h1>What the models can do, and what a simple rule can do</h1>
<p class="lead">MultiModN and P-Fusion on {{ banners | length }} data set{{ "" if banners | length == 1 else "s" }},
each score beside the best score that needs no model.</p>
<ul class="banners">
{% for banner in banners %}
<li class="{{ 'generated' if banner.generated else 'real' }}">
<b>{{ banner.title }}: {{ "a generated world, not real data" if banner.generated else "real data" }}</b>
{% if banner.generated %}Nothing below says how well a model does on real people, courses or stations. {% endif %}
<small>Version {{ banner.version }}. {{ banner.size }}. <a href="#{{ banner.anchor }}">More</a></small>
</li>
{% endfor %}
</ul>
<nav aria-label="Contents"><ul>
<li><a href="#answer">The answer</a></li><li><a href="#tasks">Tasks and models</a></li>
{% if datasets | selectattr("compared") | list %}<li><a href="#compared">One model against another</a></li>{% endif %}
{% if datasets | selectattr("trust") | list %}<li><a href="#trust">May a score be relied on?</a></li>{% endif %}
{% if joined %}<li><a href="#joined">Several data sets in one model</a></li>{% endif %}
{% if opened %}<li><a href="#opened">What the paper leaves open</a></li>{% endif %}
<li><a href="#absence">Missing on purpose</a></li>{% if datasets | selectattr("subset_csvs") | list %}
<li><a href="#less">With less</a></li>
{% endif %}
<li><a href="#inside">Inside the predictions</a></li>
<li><a href="#data">The data</a></li><li><a href="#models">Model cards</a></li>
<li><a href="#lineage">Where numbers come from</a></li><li><a href="#reading">How to read</a></li>
</ul></nav>
</header>
<main>
<section aria-labelledby="answer">
<h2 id="answer">The answer first</h2>
{% for group, sentences in answers %}
{% if group %}<h3>{{ group }}</h3>{% endif %}
<ul class="answers">
{% for sentence in sentences %}
<li><b>{{ sentence.lead }}</b>{% if sentence.text %} {{ sentence.text }}{% endif %}</li>
{% endfor %}
</ul>
{% endfor %}
<p>“Clearly” means that the floor lies outside the interval over folds, or 0 outside that of a difference. Models are
{% if datasets | selectattr("compared") | list %}
told apart, and called equal, as under <a href="#compared">One model against another</a>: after adjustment over the
tasks of a data set (Holm).
{% else %}
told apart where the interval of the difference leaves out 0.
{% endif %}
Two models that are not told apart need not be equal. {{ csv("comparisons") }}</p>

</section>

<section aria-labelledby="tasks">
<h2 id="tasks">Tasks and models</h2>
<p>Each score is the mean over the folds’ test items; below it the 95 % interval over folds. <b>▲</b> beats its floor,
<b>≈</b> is ahead of it but not clear of it, <b>▼</b> does no better (“not clearly”: the floor lies within the
interval). A floor is what prevalence, the mean, presence alone,
shuffled labels, a linear model of one modality alone or a rule of thumb achieves.
Click a number to see the model and the versions of what it was made
from.</p>
<table class="stack" role="table">
<caption>The numbers: {{ csv("tasks") }}. Every metric, floor and fold is below.</caption>
<thead role="rowgroup"><tr role="row">
<th scope="col" role="columnheader">Task</th>
{% for column in columns %}<th scope="col" role="columnheader">{{ column }}</th>{% endfor %}
<th scope="col" role="columnheader">Best floor</th>
<th scope="col" role="columnheader">Beside the paper<small>other data and protocol</small></th>
</tr></thead>
<tbody role="rowgroup">
{% for dataset in datasets %}
<tr class="group" role="row"><th colspan="{{ columns | length + 3 }}" scope="rowgroup" role="rowheader">{{
dataset.title }}
<small>{{ "Generated world, not real data" if dataset.generated else "Real data" }}, version {{ dataset.version }}.
{{ dataset.size }}.</small></th></tr>
{% for row in dataset.rows %}
<tr role="row">
<th scope="row" role="rowheader">{{ row.number }} {{ row.name }}
<small>{{ row.description }}</small><small><b>{{ row.metric }}</b>{{ ", " + row.support if row.support }}</small></th>
{% for column in columns %}
<td role="cell" data-label="{{ column }}"><div class="full">
{% for cell in row.columns[column] %}{{ score(cell, row.columns[column] | length > 1) }}
{% else %}<small>not run</small>{% endfor %}
</div></td>
{% endfor %}
<td role="cell" data-label="Best floor"><div class="full">
<a class="value" href="{{ row.floor_href }}">{{ row.floor }}</a><small>{{ row.floor_name }}</small>
{% if row.other_floors %}
<details><summary>the other floors</summary><ul>
{% for name, value in row.other_floors %}<li>{{ name }} <span class="num">{{ value }}</span></li>{% endfor %}
</ul></details>
{% endif %}
</div></td>
<td role="cell" data-label="Beside the paper"><div class="full">
{% if row.paper %}
<small>{{ row.paper.metric }}</small>
{% for model, ours, said in row.paper.rows %}
<small>{{ model }}: <span class="num">ours {{ ours }},</span> <span class="num">paper {{ said }}</span></small>
{% endfor %}
{% else %}<small>not in the paper</small>{% endif %}
</div></td>
</tr>
{% else %}
<tr role="row"><td role="cell" colspan="{{ columns | length + 3 }}">No task of this data set has a score.</td></tr>
{% endfor %}
{% endfor %}
</tbody>
</table>
<p>The paper’s numbers (Swamy et al., NeurIPS 2023, Table 1) are balanced accuracy for tasks 1 to 4 and normalised
squared
error for 5 to 10. They stand beside those of our single-task models in the same metric, for orientation only: the
data, the cohort, the scaling
(theirs
was fitted on all rows) and the skipping (theirs per batch) differ.</p>
{% if absent %}
<p class="none-said">Not in this report, as no usable raw files were linked when it was made:
{% for name in absent %}<code>{{ name }}</code>{{ "" if loop.last else ", " }}{% endfor %}. <code>mmn doctor</code>
says what
each one needs.</p>
{% endif %}
{% if score_figure %}{{ drawing(score_figure) }}{% endif %}
{% for dataset in datasets %}
<details><summary>Every metric of {{ dataset.title }} ({{ dataset.all_scores | length }} rows)</summary>
<div class="scroll"><table>
<caption>With the value of every fold: {{ csv("scores-" ~ dataset.name) }}</caption>
<thead><tr><th scope="col">Task</th><th scope="col">Model or floor</th><th scope="col">Metric</th><th
scope="col">Estimate</th>
<th scope="col">Interval over folds</th><th scope="col">Interval over subjects</th></tr></thead>
<tbody>
{% for row in dataset.all_scores %}
<tr><td>{{ row.task }}</td><td>{{ row.model }}{{ " (floor)" if row.kind == "floor" }}</td><td>{{ row.metric }}</td>
<td class="num">{{ row.value }}</td><td class="num">{{ row.folds }}</td><td class="num">{{ row.subjects }}</td></tr>
{% endfor %}
</tbody>
</table></div>
</details>
{% if dataset.binarised %}
<details><summary>{{ dataset.title }}, as questions of yes or no: is the target above its threshold?</summary>
<div class="scroll"><table>
<caption>AUROC of the regressions' predictions; no model is trained for it: {{ csv("binarised-" ~ dataset.name) }}
</caption>
<thead><tr><th scope="col">Task</th><th scope="col">Model or floor</th><th scope="col">AUROC</th><th
scope="col">Interval over folds</th></tr></thead>
<tbody>
{% for row in dataset.binarised %}
<tr><td>{{ row.task }}</td><td>{{ row.model }}{{ " (floor)" if row.kind == "floor" }}</td>
<td class="num">{{ row.value }}</td><td class="num">{{ row.folds }}</td></tr>
{% endfor %}
</tbody>
</table></div>
</details>
{% endif %}
{% endfor %}
</section>

{# compared #}
{# trust #}
{# joined #}
{# opened #}
<section aria-labelledby="absence">
<h2 id="absence">Missing on purpose</h2>
<p>Data is often missing for a reason: a test is not ordered because the patient looks well. A model can learn that
reason
instead of the disease, and fail where the habit of ordering differs. Here one modality is removed on purpose to see
which
model does.</p>
{% for dataset in datasets %}
{% if dataset.removal_figures %}
<h3>{{ dataset.title }}: what the removal shows</h3>
<ul class="answers">
{% for lead, rest in dataset.removal_answers %}<li><b>{{ lead }}</b> {{ rest }}</li>{% endfor %}
</ul>
{% for figure in dataset.removal_figures %}{{ drawing(figure) }}{% endfor %}
{% endif %}
{% if dataset.removal_csvs %}
<p>All numbers of {{ dataset.title }}: {% for name in dataset.removal_csvs %}{{ csv(name) }}{{
"" if loop.last else " · " }}{% endfor %}</p>
{% endif %}
{% endfor %}
{% for titles, reason in unmeasured %}
<p class="none-said"><b>{{ titles }}: not shown.</b> {{ reason }}</p>
{% endfor %}
</section>

{% for dataset in datasets if dataset.early %}
{% if loop.first %}
<section aria-labelledby="early">
<h2 id="early">Read early</h2>
<p>What is known when only a part of the series has been seen. MultiModN is the model of above, read at an earlier
step; P-Fusion reads all steps at once and was trained anew on that part. A dagger marks what does not beat the best
floor there.</p>
{% endif %}
<div class="scroll"><table>
<caption><b>{{ dataset.title }}</b>, by the share that was seen: {{ csv("early-" ~ dataset.name) }}</caption>
<thead><tr><th scope="col">Task</th><th scope="col">Model</th>{% for share in dataset.early.shares %}<th
scope="col">{{ share }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in dataset.early.rows %}
<tr><td>{{ row.task }} <small>{{ row.metric }}</small></td><td>{{ row.model }}</td>{% for cell in row.cells %}<td
class="num">{{ cell.value }}{{ "†" if cell.beats is false }}{% if cell.interval %}
<small>{{ cell.interval }}</small>{% endif %}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
{% for table in dataset.steps %}
<div class="scroll"><table>
<caption><b>{{ dataset.title }}</b>, {{ table.task }}, asked after every step{% if loop.first %}: {{
csv("steps-" ~ dataset.name) }}{% endif %}</caption>
<thead><tr><th scope="col">Metric</th><th scope="col">After step</th>{% for step in table.steps %}<th
scope="col">{{ step }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}
<tr><td>{{ row.metric }}</td><td>{{ row.who }}</td>{% for cell in row.cells %}<td class="num">{{ cell }}</td>{% endfor
%}</tr>
{% endfor %}
</tbody>
</table></div>
{% endfor %}
{% if loop.last %}</section>{% endif %}
{% endfor %}

{% for dataset in datasets if dataset.subset_csvs %}
{% if loop.first %}
<section aria-labelledby="less">
<h2 id="less">With less, and in another order</h2>
<p>What is known of an item differs from place to place, and so does the order in which it comes. Here the trained
models are given a part of the modalities, or all of them in an order that training did not show.</p>
{% endif %}
<h3>{{ dataset.title }}</h3>
<ul class="answers">
{% for lead, rest in dataset.less_answers %}<li><b>{{ lead }}</b> {{ rest }}</li>{% endfor %}
</ul>
{% if dataset.subset_figure %}{{ drawing(dataset.subset_figure) }}{% endif %}
{% if dataset.order_figure %}{{ drawing(dataset.order_figure) }}{% endif %}
<p>All numbers: {% for name in dataset.subset_csvs %}{{ csv(name) }}{{ "" if loop.last else " · " }}{% endfor %}</p>
{% if loop.last %}</section>{% endif %}
{% endfor %}

<section aria-labelledby="inside">
<h2 id="inside">Inside the predictions</h2>
<p>MultiModN predicts after every modality, so one can watch a prediction form; P-Fusion reads everything at once and
offers
no such view. Predictions are probabilities, or targets scaled to 0–1. All is averaged over groups of test items; single
ones are shown only where they are generated or were asked for by name. What a model does with an input is no cause in
the world.</p>
<p><b>IMC</b>, individual modality contribution: each encoder is applied alone to the initial state. A cell is the
prediction
then, minus the prediction before any input, averaged over the test items that have the modality and over folds;
below it the
mean size of the change whatever its sign. <b>CP</b>, cumulative prediction: the change when each modality is added
to what
came before it, in the order of the encoders; a later one changes only what the earlier ones left open. <b>Shapley
values</b> average what a modality changes over all sets of others that may be known before it.</p>
{% for dataset in datasets %}
{% if dataset.imc_figure %}{{ drawing(dataset.imc_figure) }}
{% else %}<p class="none-said"><b>{{ dataset.title }}, IMC: not shown.</b> No modality’s contribution could be
computed.</p>
{% endif %}
{% if dataset.cp_figure %}{{ drawing(dataset.cp_figure) }}
{% else %}<p class="none-said"><b>{{ dataset.title }}, CP: not shown.</b> No change of a prediction could be
computed.</p>
{% endif %}
{% if dataset.worth_figure %}{{ drawing(dataset.worth_figure) }}{% endif %}
{% if dataset.items_figure %}{{ drawing(dataset.items_figure) }}
{% elif dataset.items_shown %}<p class="none-said"><b>{{ dataset.title }}, single items: {{ dataset.items_shown }}.</b>
</p>{% endif %}
{% if dataset.inside_csvs %}<p>All numbers behind these figures:
{% for name in dataset.inside_csvs %}{{ csv(name) }}{{ "" if loop.last else " · " }}{% endfor %}</p>{% endif %}
{% endfor %}
</section>

<section aria-labelledby="data">
<h2 id="data">The data</h2>
<p>Counts from 1 to {{ smallest - 1 }} are printed as &lt;{{ smallest }}, here and in the csv files.
{{ csv("presence") }} · {{ csv("counts") }} · {{ csv("left_out") }} · {{ csv("skipped") }}</p>
{% for dataset in datasets %}
<h3 id="{{ dataset.anchor }}">{{ dataset.title }}</h3>
<p>{{ "A generated world with known ground truth, not real data" if dataset.generated else "Real data" }}, version
{{ dataset.version }}. {{ dataset.size }}.
</p>
{% if dataset.licence %}<p>Licence: {{ dataset.licence }}</p>{% endif %}
{% if dataset.citation %}<p>Cite: {{ dataset.citation }}</p>{% endif %}
{% if dataset.notes %}
<ul>
{% for note in dataset.notes %}<li>{{ note }}</li>{% endfor %}
</ul>
{% endif %}
<table class="stack" role="table">
<caption><b>Modalities</b>: how often each is there, and what turns it into an embedding</caption>
<thead role="rowgroup"><tr role="row"><th scope="col" role="columnheader">Modality</th>
<th scope="col" role="columnheader">Present in<small>{{ dataset.presence_unit }}</small></th>
<th scope="col" role="columnheader">Featurizer and weights</th>
<th scope="col" role="columnheader">Rows left out</th></tr></thead>
<tbody role="rowgroup">
{% for modality in dataset.modalities %}
<tr role="row"><th scope="row" role="rowheader">{% if modality.href %}<a href="{{ modality.href }}">{{ modality.name
}}</a>
{% else %}{{ modality.name }}{% endif %}<small>{{ modality.description }}</small></th>
<td role="cell" data-label="Present in"><div class="full"><span class="num">{{ modality.present }}</span>
<span class="bar" aria-hidden="true"><i style="width: {{ modality.bar }}%"></i></span></div></td>
<td role="cell" data-label="Featurizer and weights"><div class="full">{{ modality.featurizer }}
{% if modality.facts | length > 4 %}<details><summary>its card</summary>{{ facts(modality.facts) }}</details>
{% elif modality.facts %}{{ facts(modality.facts) }}{% endif %}</div></td>
<td role="cell" data-label="Rows left out"><div class="full">
{% for reason, number in modality.quarantined %}{{ reason }}: <span class="num">{{ number }}</span>
{{- "" if loop.last else "; " }}{% else %}none{% endfor %}
</div></td></tr>
{% else %}
<tr role="row"><td role="cell" colspan="4">No modality could be read.</td></tr>
{% endfor %}
</tbody>
</table>
<div class="columns">
<div>
<h4>Could not be run, and why</h4>
{% if dataset.skipped %}
<ul>
{% for name, why in dataset.skipped %}<li><b>{{ name }}</b>: {{ why }}</li>{% endfor %}
</ul>
{% else %}<p>Nothing: every modality and task was there.</p>{% endif %}
<h4>Items left out of the cohort</h4>
{% if dataset.excluded %}
<ul>
{% for reason, number in dataset.excluded %}<li>{{ reason }}: <span class="num">{{ number }}</span></li>{% endfor %}
</ul>
{% else %}<p>None.</p>{% endif %}
</div>
<div>
<table>
<caption><b>Labels</b>, at the step the task is read at</caption>
<thead><tr><th scope="col">Task</th><th scope="col">Items with a label</th><th scope="col">Positive</th></tr></thead>
<tbody>
{% for row in dataset.counts %}
<tr><td>{{ row.task }}</td><td class="num">{{ row.labelled }}</td><td class="num">{{ row.positive }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
</div>
{% endfor %}
</section>

<section aria-labelledby="models">
<h2 id="models">Model cards</h2>
<p>One card per trained model: what it predicts, from what, how well, and the versions it was made from. They are
made for
research; none is fit to decide about a person.</p>
{% for dataset in datasets %}
<h3>{{ dataset.title }}</h3>
<div class="cards">
{% for card in dataset.models %}
<div class="card" id="{{ card.anchor }}">
<h4>{{ card.name }}</h4>
<dl>
<dt>Model</dt><dd><code>{{ card.key }}</code></dd>
<dt>Predicts</dt><dd>{{ card.tasks }}</dd>
<dt>Reads</dt><dd>{{ card.modalities }}</dd>
<dt>Scores</dt><dd>{% for task, cell in card.scores %}
<div>{{ task }}: {% if cell.undefined %}{{ cell.undefined }}{% else %}<span class="num">{{ cell.value }}</span>
{% if cell.interval %}over folds <span class="num">{{ cell.interval }}</span>{% endif %}
{% if cell.subjects %}, over subjects <span class="num">{{ cell.subjects }}</span>{% endif %}
<span class="verdict {{ cell.standing }}">{{ cell.symbol }} {{ cell.verdict }}</span>{% endif %}</div>{% endfor %}</dd>
<dt>Trained on</dt><dd>{{ "a generated world" if dataset.generated else "real data" }}, version {{ dataset.version
}}</dd>
{% if card.parameters %}<dt>Parameters</dt><dd class="num">{{ card.parameters }} per fold</dd>{% endif %}
{% if card.published %}<dt>As published</dt><dd><b>{{ card.published | join(", ") }}</b>: for comparison only</dd>{%
endif %}
<dt>Changed settings</dt><dd>{{ card.settings or "none: all defaults" }}</dd>
<dt>Made from</dt><dd>{{ linked(card.inputs, "not stated") }}</dd>
<dt>Version</dt><dd class="version">{{ card.version }}</dd>
</dl>
{% if card.notes %}<ul class="facts">{% for note in card.notes %}<li>{{ note }}</li>{% endfor %}</ul>{% endif %}
{% if card.all_settings %}<details><summary>all settings</summary>{{ facts(card.all_settings) }}</details>{% endif %}
</div>
{% endfor %}
</div>
{% endfor %}
</section>

<section aria-labelledby="lineage">
<h2 id="lineage">Where numbers come from</h2>
<p>Every artifact between this page and the raw files. A version is the MD5 of the bytes, as DVC and Dagster record
it; the raw
rows are manifests that name each raw file with its own hash. <code>dvc.lock</code> holds them too.
{{ csv("lineage") }}</p>
<table class="stack lineage" role="table">
<thead role="rowgroup"><tr role="row"><th scope="col" role="columnheader">Artifact</th>
<th scope="col" role="columnheader">Version</th><th scope="col" role="columnheader">Made from</th>
<th scope="col" role="columnheader">Went into</th></tr></thead>
<tbody role="rowgroup">
{% for artifact in artifacts %}
<tr role="row" id="{{ artifact.anchor }}"><th scope="row" role="rowheader"><code>{{ artifact.key }}</code></th>
<td role="cell" data-label="Version"><div class="full version">{{ artifact.version }}</div></td>
<td role="cell" data-label="Made from"><div class="full">{{ linked(artifact.inputs, "raw files") }}
{% if artifact.settings %}<small>{{ artifact.settings }}</small>{% endif %}</div></td>
<td role="cell" data-label="Went into"><div class="full">{{ linked(artifact.fed, "nothing") }}</div></td></tr>
{% endfor %}
</tbody>
</table>
</section>

<section aria-labelledby="reading">
<h2 id="reading">How to read the numbers</h2>
<dl>
<dt><b>Folds</b></dt><dd>The data is divided several times into training, validation and test items; no subject
(patient, student,
station) is ever on two sides. A score is the mean over the folds’ test items.</dd>
<dt><b>Interval over folds</b></dt><dd>Student’s t over the fold scores, cut at what the metric can be. With five
folds it is wide,
and rightly so.</dd>
<dt><b>Interval over subjects</b></dt><dd>A bootstrap that draws whole subjects from the pooled test predictions; it
says nothing
of how training varies.</dd>
<dt><b>Differences of two models</b></dt><dd>Fold by fold, with the correction of Nadeau and Bengio for folds that
share training
items. An interval that holds 0 means not told apart; it does not mean equal.</dd>
<dt><b>Metrics</b></dt><dd>AUROC: the chance that a positive item is ranked above a negative one; 0.5 is guessing.
RMSE and MAE are
in the target’s own unit. Normalised MSE is on targets scaled to 0–1 by the training items.</dd>
<dt><b>Undefined</b></dt><dd>A test fold with one class only has no AUROC. Such folds are left out and said so; a
score without any
usable fold is undefined, never 0 or 0.5.</dd>
<dt><b>Small counts</b></dt><dd>1 to {{ smallest - 1 }} is printed as &lt;{{ smallest }}, and so is the rest when it
is that small. A
floor’s AUPRC and Brier score follow from the count and are withheld with it.</dd>
</dl>
</section>
</main>
<footer>Made by mmn. The page holds no date, so that the same inputs give the same bytes; its version says which it
is.</footer>
</body>
</html>
"""
# Sections whose words stand beside their numbers.
for place, section in (("compared", COMPARED), ("trust", TRUST), ("joined", JOINED), ("opened", OPEN)):
    TEMPLATE = TEMPLATE.replace("{# " + place + " #}\n", section)
